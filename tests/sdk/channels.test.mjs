// Public channels: pusher-js listens, the Node server SDK triggers and asks.

import assert from 'node:assert/strict';
import { test } from 'node:test';

import { Ears, PUSHER_JS, connect, json, serverSdk, settled, subscribe } from './support/clients.mjs';
import { startServer } from './support/server.mjs';
import { emitted } from './support/within.mjs';

for (const version of Object.keys(PUSHER_JS)) {
  test(`pusher-js ${version} hears what the server SDK triggers (38, 39, 144)`, async (t) => {
    const server = await startServer(t);
    const pusher = await connect(t, server, { version });
    const ears = new Ears(await subscribe(pusher, 'orders'));

    const answer = await serverSdk(server).trigger('orders', 'order:new', { id: 7, table: 'Terrasse 3' });

    assert.equal(answer.status, 200);
    assert.match(answer.headers.get('content-type'), /^application\/json/);
    assert.deepEqual(await answer.json(), {});
    assert.deepEqual((await ears.next('order:new')).data, { id: 7, table: 'Terrasse 3' });
  });
}

test('one trigger reaches several channels, each once (145)', async (t) => {
  const server = await startServer(t);
  const pusher = await connect(t, server);
  const kitchen = new Ears(await subscribe(pusher, 'kitchen'));
  const bar = new Ears(await subscribe(pusher, 'bar'));

  await serverSdk(server).trigger(['kitchen', 'bar', 'kitchen'], 'order', { id: 1 });

  await kitchen.next('order');
  await bar.next('order');
  await settled(pusher);
  assert.deepEqual([...kitchen.waiting, ...bar.waiting], []);
});

test('a batch keeps its order and may carry different channels (155, 156)', async (t) => {
  const server = await startServer(t);
  const pusher = await connect(t, server);
  const ears = new Ears(pusher);
  await subscribe(pusher, 'kitchen');
  await subscribe(pusher, 'bar');

  const answer = await serverSdk(server).triggerBatch([
    { channel: 'kitchen', name: 'first', data: { n: 1 } },
    { channel: 'bar', name: 'second', data: { n: 2 } },
    { channel: 'kitchen', name: 'third', data: { n: 3 } },
  ]);

  assert.deepEqual(await answer.json(), {});
  await ears.next('third');
  assert.deepEqual(ears.waiting, ['first', 'second']);
});

test('a batch of eleven is refused with a text that the SDK passes on (155)', async (t) => {
  const server = await startServer(t);
  const batch = Array.from({ length: 11 }, (_, n) => ({ channel: 'orders', name: 'order', data: { n } }));

  await assert.rejects(serverSdk(server).triggerBatch(batch), (error) => {
    assert.equal(error.status, 400);
    assert.notEqual(error.body.trim(), '');
    return true;
  });
});

test('the socket that caused an event is left out (150)', async (t) => {
  const server = await startServer(t);
  const till = await connect(t, server);
  const cook = await connect(t, server);
  const tillEars = new Ears(await subscribe(till, 'orders'));
  const cookEars = new Ears(await subscribe(cook, 'orders'));

  await serverSdk(server).trigger('orders', 'order', { id: 7 }, { socket_id: till.connection.socket_id });

  await cookEars.next('order');
  await settled(till);
  assert.deepEqual(tillEars.waiting, []);
});

test('data arrives as it was sent: text, quotes, emoji, separators (153)', async (t) => {
  const server = await startServer(t);
  const pusher = await connect(t, server);
  const ears = new Ears(await subscribe(pusher, 'orders'));
  const data = { text: 'a "quoted" \\ / line\u2028 and 🍜 Кухня', empty: '', nothing: null, deep: [[1.5]] };

  await serverSdk(server).trigger('orders', 'new-order', data);
  await serverSdk(server).trigger('orders', 'plain', 'just text');

  assert.deepEqual((await ears.next('new-order')).data, data);
  assert.equal((await ears.next('plain')).data, 'just text');
});

test('event names of all kinds pass (149)', async (t) => {
  const server = await startServer(t);
  const pusher = await connect(t, server);
  const ears = new Ears(await subscribe(pusher, 'orders'));

  for (const name of ['App\\Events\\OrderShipped', 'order:new', 'новый-заказ', 'x'.repeat(200)]) {
    await serverSdk(server).trigger('orders', name, {});

    await ears.next(name);
  }
});

test('data of 10,240 bytes passes and one more is refused with 413 (147)', async (t) => {
  const server = await startServer(t);
  const pusher = await connect(t, server);
  const ears = new Ears(await subscribe(pusher, 'orders'));
  const sdk = serverSdk(server);

  await sdk.trigger('orders', 'large', 'x'.repeat(10_240));

  assert.equal((await ears.next('large')).data.length, 10_240);
  await assert.rejects(sdk.trigger('orders', 'larger', 'x'.repeat(10_241)), { status: 413 });
});

test('a trigger tells the attributes that it was asked for (154)', async (t) => {
  const server = await startServer(t, { app: 'subscription_count = true' });
  const pusher = await connect(t, server);
  await subscribe(pusher, 'orders');

  const answer = await serverSdk(server).trigger(['orders', 'nobody'], 'order', {}, { info: 'subscription_count' });

  assert.deepEqual(await answer.json(), {
    channels: { orders: { subscription_count: 1 }, nobody: { subscription_count: 0 } },
  });
});

test('channels are listed while somebody listens (157, 158)', async (t) => {
  const server = await startServer(t);
  const sdk = serverSdk(server);
  const pusher = await connect(t, server);

  assert.deepEqual(await json(sdk.get({ path: '/channels' })), { channels: {} });
  await subscribe(pusher, 'orders-1');
  await subscribe(pusher, 'kitchen');

  assert.deepEqual(await json(sdk.get({ path: '/channels' })), { channels: { kitchen: {}, 'orders-1': {} } });
  const filtered = await json(sdk.get({ path: '/channels', params: { filter_by_prefix: 'orders-' } }));
  assert.deepEqual(filtered, { channels: { 'orders-1': {} } });
});

test('one channel is asked about, occupied or not (160, 161)', async (t) => {
  const server = await startServer(t, { app: 'subscription_count = true' });
  const sdk = serverSdk(server);
  const pusher = await connect(t, server);
  await subscribe(pusher, 'orders');

  const params = { info: 'subscription_count' };

  assert.deepEqual(await json(sdk.get({ path: '/channels/orders', params })), { occupied: true, subscription_count: 1 });
  assert.deepEqual(await json(sdk.get({ path: '/channels/nobody' })), { occupied: false });
  await assert.rejects(sdk.get({ path: '/channels/orders', params: { info: 'user_count' } }), { status: 400 });
});

test('every character that a channel name may have works in subscriptions, triggers and questions (45, 143)', async (t) => {
  const server = await startServer(t);
  const sdk = serverSdk(server);
  const pusher = await connect(t, server);
  const name = 'Menu_1-x=a@b,c.d;e';
  const ears = new Ears(await subscribe(pusher, name));

  await sdk.trigger(name, 'changed', {});

  await ears.next('changed');
  assert.deepEqual(await json(sdk.get({ path: `/channels/${name}` })), { occupied: true });
});

test('after unsubscribe nothing comes, after a new subscription it does (41, 43, 203)', async (t) => {
  const server = await startServer(t);
  const sdk = serverSdk(server);
  const pusher = await connect(t, server);
  const everything = new Ears(pusher);
  await subscribe(pusher, 'orders');

  pusher.unsubscribe('orders');
  await settled(pusher);
  await sdk.trigger('orders', 'missed', {});
  await subscribe(pusher, 'orders');
  await sdk.trigger('orders', 'heard', {});

  await everything.next('heard');
  assert.deepEqual(everything.waiting, []);
});

test('a channel name that is not allowed is an error, and the client stays (44, 47)', async (t) => {
  const server = await startServer(t);
  const pusher = await connect(t, server);

  for (const name of ['two words', '#anything', 'a/b']) {
    // pusher-js itself refuses to subscribe to a name with #.
    pusher.send_event('pusher:subscribe', { channel: name });

    const error = await emitted(pusher.connection, 'error', `the error for ${name}`);

    assert.equal(error.data.code, null);
  }
  await settled(pusher);
});

test('a thousand triggers in a row arrive in order (166, 201)', async (t) => {
  const server = await startServer(t);
  const sdk = serverSdk(server);
  const pusher = await connect(t, server);
  const channel = await subscribe(pusher, 'orders');
  const ears = new Ears(channel);
  const numbers = [];
  channel.bind('order', ({ n }) => numbers.push(n));

  for (let n = 0; n < 1_000; n += 1) {
    await sdk.trigger('orders', 'order', { n });
  }
  await sdk.trigger('orders', 'end', {});

  await ears.next('end');
  assert.deepEqual(numbers, Array.from({ length: 1_000 }, (_, n) => n));
});

test('requests signed with another secret or for another app are refused (136, 139, 164)', async (t) => {
  const server = await startServer(t);

  await assert.rejects(serverSdk(server, { secret: 'wrong' }).trigger('orders', 'order', {}), (error) => {
    assert.equal(error.status, 401);
    assert.match(error.body, /^Invalid signature: you should have sent HmacSHA256Hex/);
    return true;
  });
  await assert.rejects(serverSdk(server, { key: 'wrong' }).trigger('orders', 'order', {}), { status: 401 });
  await assert.rejects(serverSdk(server, { appId: '9999' }).trigger('orders', 'order', {}), { status: 404 });
});
