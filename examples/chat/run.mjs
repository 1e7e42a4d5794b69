// Starts RabbitMQ, Fanfare and the chat, and stops them at Ctrl-C. `--once` checks that
// what one user does arrives at another, each thing once, and ends.

import { randomBytes } from 'node:crypto';

import Pusher from 'pusher-js';

import { startFanfare, startNode, stop, stopAtSignals, within } from '../support/processes.mjs';
import { startRabbitMq } from './broker.mjs';
import { freePort } from './ports.mjs';

const isCheck = process.argv.includes('--once');
const { PORT = '3000', FANFARE_PORT = '6001', METRICS_PORT = '9601', RABBITMQ_URL } = process.env;

stopAtSignals('chat');

try {
  await (isCheck ? check() : demonstrate());
} catch (error) {
  console.error(`chat: ${error.message}`);
  await stop(1);
}

async function demonstrate() {
  const { chat } = await startAll({ port: FANFARE_PORT, metricsPort: METRICS_PORT, chatPort: PORT });
  console.log(`
  Open ${chat} in two tabs; each is a user of its own.
  Messages, reactions, ticks and typing appear in the other one. Stop this with Ctrl-C.
`);
}

async function check() {
  const { chat, fanfare } = await startAll({ port: await freePort(), metricsPort: 0, chatPort: await freePort() });
  for (const path of ['/', '/chat.js', '/chat.css', '/pusher.min.js']) {
    await ask(chat + path);
  }
  const [ann, ben] = [await signIn(chat, 'Ann'), await signIn(chat, 'Ben')];
  const heard = [];
  const page = await open(fanfare, ben);
  page.mine.bind_global((event, data) => {
    if (!event.startsWith('pusher:') && event !== 'chat3:update') {
      heard.push(event === 'message:new' ? data.content : data.eventType);
    }
  });
  page.dialog.bind('client-typing:start', (_data, { user_id: userId }) => heard.push(`typing ${userId}`));

  const typing = await open(fanfare, ann);
  typing.dialog.trigger('client-typing:start', { dialogId: ann.dialog });
  await within(until(() => heard.length === 1), 'somebody to type');
  const { message } = await post(chat, '/messages', ann, { text: 'Привет' });
  await post(chat, '/reactions', ben, { messageId: message._id, reaction: '👍' });
  await post(chat, '/read', ben, { messageId: message._id });
  await within(until(() => heard.length === 4), 'the message and what became of it');

  [page, typing].forEach(({ pusher }) => pusher.disconnect());
  const expected = `typing ${ann.user.userId}, Привет, message.reaction.add, message.status.update`;
  if (heard.join(', ') !== expected) {
    throw new Error(`a page heard ${heard.join(', ')}`);
  }
  console.log('a page heard typing, a message, a reaction and a tick: each once');
  await stop(0);
}

async function startAll({ port, metricsPort, chatPort }) {
  const broker = RABBITMQ_URL ?? (await startRabbitMq());
  // Made anew at each start: tokens of an earlier run are worth nothing.
  const JWT_SECRET = randomBytes(32).toString('hex');
  const chat = await startNode('the chat', 'back_end.mjs', {
    JWT_SECRET,
    RABBITMQ_URL: broker,
    REALTIME_PORT: String(port),
    PORT: String(chatPort),
  });
  await startFanfare({
    port,
    metricsPort,
    environment: {
      JWT_SECRET,
      RABBITMQ_URL: broker,
      FANFARE_ADAPTERS_CHAT_ENABLED: 'true',
      FANFARE_ADAPTERS_CHAT_MEMBERSHIP_URL: `${chat}/member`,
      CORS_ORIGIN: chat,
    },
  });
  return { chat, fanfare: port };
}

/** What a page does, in Node. Resolves when the user's updates come. */
async function open(port, { token, user, dialog }) {
  const server = `http://127.0.0.1:${port}`;
  const pusher = new Pusher('app-key', {
    wsHost: '127.0.0.1',
    wsPort: port,
    forceTLS: false,
    enabledTransports: ['ws'],
    cluster: '',
    // The origin is the browser's to send.
    channelAuthorization: {
      endpoint: `${server}/pusher/auth`,
      transport: 'ajax',
      headersProvider: () => ({ Authorization: `Bearer ${token}` }),
    },
  });
  const subscribed = (channel) => within(new Promise((resolve, reject) => {
    channel.bind('pusher:subscription_succeeded', resolve);
    channel.bind('pusher:subscription_error', ({ status }) => reject(new Error(`${channel.name}: ${status}`)));
  }), channel.name);
  const mine = pusher.subscribe(`private-user;${user.userId}`);
  await subscribed(mine);
  const room = pusher.subscribe(`presence-dialog;${dialog}`);
  await subscribed(room);
  const isBound = async () => (await (await ask(`${server}/adapters/chat3/v1/users/${user.userId}`)).json()).subscribed;
  await within(until(isBound), `${user.name} to be bound`);
  return { pusher, mine, dialog: room };
}

async function signIn(chat, name) {
  return (await ask(`${chat}/session`, { method: 'POST', body: new URLSearchParams({ name }) })).json();
}

async function post(chat, path, { token }, fields) {
  const request = {
    method: 'POST',
    headers: { authorization: `Bearer ${token}` },
    body: new URLSearchParams(fields),
  };
  return (await ask(chat + path, request)).json();
}

async function ask(url, request = {}) {
  const answer = await fetch(url, { ...request, signal: AbortSignal.timeout(30_000) });
  if (!answer.ok) {
    throw new Error(`${url} answers ${answer.status}: ${await answer.text()}`);
  }
  return answer;
}

async function until(condition) {
  while (!(await condition())) {
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}
