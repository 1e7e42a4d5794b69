// Pages that were written for Socket.IO, in Chromium, with one line changed: the one
// that imports `io`. The server is the real one, with its rooms, its tokens and its
// broadcasts. Acceptance: rt_react_example_shim, rt_vue_example_shim.

import assert from 'node:assert/strict';
import { createRequire } from 'node:module';
import { before, test } from 'node:test';

import { APP, startServer } from '../../../tests/sdk/support/server.mjs';
import { tokenOf } from './support/back_end.mjs';
import { buildExamples, serveFiles, startBrowser } from './support/pages.mjs';

const Pusher = createRequire(import.meta.url)('pusher');

const JWT_SECRET = 'the secret of the examples, long enough';
const TOKEN = 'your-webhook-token';
const PATIENCE_MS = 30_000;
const AN_HOUR_S = 3_600;

let examples;

before(async () => {
  examples = await buildExamples();
});

async function callCentre(t, name) {
  const origin = await serveFiles(t, examples.files);
  const server = await startServer(t, {
    tables: `
[auth]
jwt_secret = "${JWT_SECRET}"
allowed_origins = ["${origin}"]
[adapters.rooms]
enabled = true
webhook_token = "${TOKEN}"
`,
  });
  const broadcast = async (path, body) => {
    const answer = await fetch(`${server.url}/api/v1/broadcast/${path}`, {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify({ token: TOKEN, ...body }),
    });
    assert.equal(answer.status, 200, await answer.text());
  };
  const browser = await startBrowser(t);
  const page = await browser.newPage();
  page.setDefaultTimeout(PATIENCE_MS);
  const errors = [];
  page.on('pageerror', (error) => errors.push(error.message));
  const open = async (claims, more) => {
    const exp = Math.floor(Date.now() / 1_000) + AN_HOUR_S;
    const token = tokenOf({ ...claims, exp }, JWT_SECRET);
    await page.goto(`${origin}/?${new URLSearchParams({ example: name, url: server.url, token, ...more })}`);
  };
  const lines = (id) => page.$$eval(`${id} li`, (items) => items.map(({ textContent }) => textContent));
  return { server, broadcast, page, open, lines, errors };
}

test('one line of each example is changed', () => {
  assert.deepEqual(examples.changed, { 'call-centre.jsx': 1, 'call-list.vue': 1, 'chat-updates.jsx': 1 });
});

test('rt_react_example_shim: calls, orders and notifications arrive, each once', async (t) => {
  const { server, broadcast, page, open, lines, errors } = await callCentre(t, 'call-centre');
  await open({ sub: '123', role: 'operator', name: 'Ann' }, { city: 'Саратов' });
  await page.waitForSelector('#state:text-is("online")');
  await page.waitForSelector('#joined li:nth-child(2)');
  assert.deepEqual((await lines('#joined')).sort(), ['city:Саратов: true', 'operators: true']);

  const call = { id: 1, phoneClient: '+79000000001', phoneAts: '8452', operatorId: 123, status: 'ringing' };
  await broadcast('call-new', { call, rooms: ['operators', 'operator:123'] });
  await broadcast('call-updated', { call: { id: 1, status: 'answered' } });
  const order = { id: 7, clientName: 'Ivan <b>P</b>', city: 'Саратов', statusOrder: 'new' };
  await broadcast('order-new', { order, rooms: ['operators', 'directors', 'city:Саратов'] });
  await broadcast('notification', { notification: { type: 'info', message: 'for all' } });
  await broadcast('notification', { notification: { type: 'info', message: 'for you' }, userId: 123 });

  await page.waitForSelector('#notifications li:nth-child(2)');
  assert.deepEqual(await lines('#calls'), ['+79000000001 answered']);
  assert.deepEqual(await lines('#orders'), ['Ivan <b>P</b>, Саратов']);
  assert.deepEqual(await lines('#notifications'), ['for you', 'for all']);
  await server.stop();
  await page.waitForSelector('#state:text-is("offline")');
  assert.deepEqual(errors, []);
});

test('rt_vue_example_shim: calls are added and updated by their id', async (t) => {
  const { server, broadcast, page, open, lines, errors } = await callCentre(t, 'vue');
  const joined = page.waitForEvent('websocket').then((socket) =>
    socket.waitForEvent('framereceived', {
      predicate: ({ payload }) => /subscription_succeeded.*private-operators/.test(payload),
      timeout: PATIENCE_MS,
    }),
  );
  await open({ sub: '123', role: 'callcentre_operator', name: 'Ann' });
  await joined;
  await page.waitForSelector('#state:text-is("online")');

  for (const id of [1, 2]) {
    await broadcast('call-new', { call: { id, phoneClient: `+7900000000${id}`, status: 'ringing' } });
  }
  await broadcast('call-updated', { call: { id: 1, status: 'answered' } });
  await broadcast('call-ended', { call: { id: 1, status: 'ended', duration: 12 } });

  await page.waitForSelector('#calls li:has-text("ended")');
  assert.deepEqual(await lines('#calls'), ['+79000000002 ringing', '+79000000001 ended']);
  await server.stop();
  await page.waitForSelector('#state:text-is("offline")');
  assert.deepEqual(errors, []);
});

test('the hook of the chat hears the updates of its user', async (t) => {
  const { server, page, open, lines } = await callCentre(t, 'chat');
  const sdk = new Pusher({ appId: APP.id, key: APP.key, secret: APP.secret, host: server.host, port: server.port });
  const channel = 'private-user;usr_a3f9k2p1';
  const joined = page.waitForEvent('console', {
    predicate: (message) => message.text() === `subscribed to ${channel}`,
    timeout: PATIENCE_MS,
  });
  // React mounts twice in strict mode: the first socket is gone before it connects.
  page.on('websocket', (socket) =>
    socket.on('framereceived', ({ payload }) => {
      if (payload.includes('subscription_succeeded') && payload.includes(channel)) {
        page.evaluate((text) => console.log(text), `subscribed to ${channel}`);
      }
    }),
  );
  await open({ userId: 'usr_a3f9k2p1', phone: '+992000000000' });
  await joined;

  await sdk.trigger(channel, 'chat3:update', { _id: 'u1', eventType: 'message.create' });
  await sdk.trigger(channel, 'message:new', { content: 'hello' });

  await page.waitForSelector('#messages li');
  assert.deepEqual(await lines('#updates'), ['message.create']);
  assert.deepEqual(await lines('#messages'), ['hello']);
});
