// The back end of the chat: it knows users and messages, and publishes each change to
// RabbitMQ for every user of the dialog, as Chat3 does. It has no connection to a
// browser that lasts.

import { createHmac, randomUUID } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { createServer } from 'node:http';

import amqp from 'amqplib';

const HOST = '127.0.0.1';
const EXCHANGE = 'chat3_updates';
const DIALOG = 'everybody';
const KEPT = 100;
const { PORT = '3000', REALTIME_PORT, RABBITMQ_URL, JWT_SECRET } = process.env;

// A real back end would have a database here.
const users = new Map();
const messages = [];

const broker = await amqp.connect(RABBITMQ_URL);
const channel = await broker.createConfirmChannel();
await channel.assertExchange(EXCHANGE, 'topic', { durable: true });

/** Tells every user of the dialog what has happened. */
async function update(eventType, entityId, data) {
  const kind = eventType.startsWith('dialog') ? 'dialogupdate' : 'messageupdate';
  for (const userId of users.keys()) {
    const body = {
      _id: randomUUID(),
      tenantId: 'example',
      userId,
      dialogId: DIALOG,
      entityId,
      eventType,
      data,
      createdAt: Date.now(),
    };
    const options = { persistent: true, contentType: 'application/json', timestamp: Date.now() };
    channel.publish(EXCHANGE, `user.${userId}.${kind}`, Buffer.from(JSON.stringify(body)), options);
  }
  await channel.waitForConfirms();
}

const routes = {
  // A real back end would ask for a password.
  'POST /session': async ({ name = '' }) => {
    const id = `usr_${randomUUID().slice(0, 8)}`;
    const user = { userId: id, name: name.trim().slice(0, 40) || `Guest ${users.size + 1}` };
    users.set(id, user);
    const token = sign({ ...user, exp: Math.floor(Date.now() / 1_000) + 8 * 3_600 });
    return { token, user, dialog: DIALOG, realtimePort: Number(REALTIME_PORT) };
  },

  'GET /messages': async () => ({ messages }),

  'POST /messages': async ({ text = '' }, user) => {
    const message = {
      _id: randomUUID(),
      senderId: user.userId,
      senderName: user.name,
      content: text.slice(0, 2_000),
      reactions: {},
      readBy: [],
    };
    messages.push(message);
    messages.splice(0, messages.length - KEPT);
    await update('message.create', message._id, message);
    return { message };
  },

  'POST /reactions': async ({ messageId, reaction = '' }, user) => {
    const message = find(messageId);
    message.reactions[user.userId] = reaction.slice(0, 8);
    await update('message.reaction.add', messageId, { messageId, reactions: message.reactions });
    return {};
  },

  'POST /read': async ({ messageId }, user) => {
    const message = find(messageId);
    if (!message.readBy.includes(user.userId) && message.senderId !== user.userId) {
      message.readBy.push(user.userId);
      await update('message.status.update', messageId, { messageId, readBy: message.readBy });
    }
    return {};
  },
};

function find(messageId) {
  const message = messages.find(({ _id }) => _id === messageId);
  if (!message) {
    throw Object.assign(new Error('no such message'), { status: 404 });
  }
  return message;
}

function sign(claims) {
  const encode = (part) => Buffer.from(JSON.stringify(part)).toString('base64url');
  const text = `${encode({ alg: 'HS256', typ: 'JWT' })}.${encode(claims)}`;
  return `${text}.${createHmac('sha256', JWT_SECRET).update(text).digest('base64url')}`;
}

/** The user that a token of ours was made for. */
function userOf(request) {
  const token = request.headers.authorization?.replace('Bearer ', '') ?? '';
  const [, claims = ''] = token.split('.');
  try {
    const said = JSON.parse(Buffer.from(claims, 'base64url'));
    return token === sign(said) ? users.get(said.userId) : undefined;
  } catch {
    return undefined;
  }
}

const files = {
  '/': ['public/index.html', 'text/html; charset=utf-8'],
  '/chat.js': ['public/chat.js', 'text/javascript; charset=utf-8'],
  '/chat.css': ['public/chat.css', 'text/css; charset=utf-8'],
  '/pusher.min.js': ['node_modules/pusher-js/dist/web/pusher.min.js', 'text/javascript; charset=utf-8'],
};

async function answer(request, response) {
  const { pathname } = new URL(request.url, 'http://localhost');
  const route = `${request.method} ${pathname}`;
  const file = request.method === 'GET' && Object.hasOwn(files, pathname) && files[pathname];
  if (file) {
    const body = await readFile(new URL(file[0], import.meta.url));
    response.writeHead(200, { 'content-type': file[1] }).end(body);
    return;
  }
  // Fanfare asks before it lets a user into the dialog.
  if (route === 'POST /member') {
    const { user_id: userId, room } = JSON.parse(await readBody(request));
    response.writeHead(room === `dialog:${DIALOG}` && users.has(userId) ? 204 : 403).end();
    return;
  }
  if (!Object.hasOwn(routes, route)) {
    response.writeHead(404).end('not found\n');
    return;
  }
  const user = userOf(request);
  if (!user && pathname !== '/session') {
    response.writeHead(401).end('sign in first\n');
    return;
  }
  const form = Object.fromEntries(new URLSearchParams(await readBody(request)));
  const body = JSON.stringify(await routes[route](form, user));
  response.writeHead(200, { 'content-type': 'application/json', 'cache-control': 'no-store' }).end(body);
}

async function readBody(request) {
  let body = '';
  for await (const chunk of request.setEncoding('utf8')) {
    body += chunk;
    if (body.length > 10_000) {
      throw Object.assign(new Error('too large'), { status: 413 });
    }
  }
  return body;
}

const server = createServer((request, response) => {
  answer(request, response).catch((error) => {
    response.writeHead(error.status ?? 500, { 'content-type': 'text/plain; charset=utf-8' });
    response.end(`${error.message}\n`);
  });
});

server.on('error', (error) => {
  console.error(error.message);
  process.exit(1);
});

server.listen(PORT, HOST, () => console.log(`the chat at http://${HOST}:${server.address().port}`));
