// Personal updates of a chat: a real RabbitMQ, two nodes, and pages with pusher-js that
// have nothing but their JWTs.

import assert from 'node:assert/strict';
import { createHmac } from 'node:crypto';
import { test } from 'node:test';

import { Ears, connect, settled, subscribe } from './support/clients.mjs';
import { startRabbitMq } from './support/rabbitmq.mjs';
import { startServer } from './support/server.mjs';
import { eventually } from './support/within.mjs';

const SECRET = 'what the chat and this server share';
const EXCHANGE = 'chat3_updates';

function tokenOf(userId) {
  const encode = (part) => Buffer.from(JSON.stringify(part)).toString('base64url');
  const exp = Math.floor(Date.now() / 1_000) + 3_600;
  const text = `${encode({ alg: 'HS256', typ: 'JWT' })}.${encode({ userId, phone: '+992', exp })}`;
  return `${text}.${createHmac('sha256', SECRET).update(text).digest('base64url')}`;
}

/** A page of a user, subscribed to their own channel. */
async function page(t, server, userId) {
  const pusher = await connect(t, server, {
    channelAuthorization: {
      endpoint: `${server.url}/pusher/auth`,
      transport: 'ajax',
      headersProvider: () => ({ Authorization: `Bearer ${tokenOf(userId)}` }),
    },
  });
  const ears = new Ears(await subscribe(pusher, `private-user;${userId}`));
  await eventually(async () => {
    const answer = await fetch(`${server.url}/adapters/chat3/v1/users/${userId}`);
    return (await answer.json()).subscribed;
  }, `${userId} to be bound`);
  return { pusher, ears };
}

test('each page of a user gets each update once, on whatever node it is (c3_two_nodes_no_split)', async (t) => {
  const broker = await startRabbitMq(t);
  await broker.declareExchange(EXCHANGE);
  const tables = `[log]\nlevel = "info,chat3=debug"\n[auth]\njwt_secret = "${SECRET}"\n[adapters.chat]\nenabled = true\nurl = "${broker.url}"\n`;
  const [one, two] = [await startServer(t, { tables }), await startServer(t, { tables })];
  const pages = [
    await page(t, one, 'usr_1'),
    await page(t, one, 'usr_1'),
    await page(t, two, 'usr_1'),
  ];
  const stranger = await page(t, two, 'usr_2');
  const update = {
    _id: 'u1',
    userId: 'usr_1',
    eventType: 'message.create',
    dialogId: 'd1',
    data: { _id: 'm1', content: 'Привет' },
  };

  assert.ok(await broker.publish(EXCHANGE, 'user.usr_1.messageupdate', update));

  for (const { pusher, ears } of pages) {
    assert.deepEqual((await ears.next('chat3:update')).data, update);
    assert.deepEqual((await ears.next('message:new')).data, update.data);
    await settled(pusher);
    assert.deepEqual(ears.waiting, []);
  }
  await settled(stranger.pusher);
  assert.deepEqual(stranger.ears.waiting, []);
  // What operators have always searched the log for (C-41).
  const messages = two.said.map((line) => JSON.parse(line).message);
  for (const phrase of ['RabbitMQ connected', 'User usr_1 subscribed to updates', 'Update received for usr_1']) {
    assert.equal(messages.filter((message) => message === phrase).length, 1, `${phrase}: ${messages.join('\n')}`);
  }
});
