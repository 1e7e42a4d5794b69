// Cache channels: the last event waits for those who come later.

import assert from 'node:assert/strict';
import { test } from 'node:test';

import { asUser, startBackEnd } from './support/back_end.mjs';
import { Ears, connect, json, serverSdk, settled, subscribe } from './support/clients.mjs';
import { startServer } from './support/server.mjs';

test('an empty cache is told once to each who subscribes (97)', async (t) => {
  const server = await startServer(t);
  const pusher = await connect(t, server);

  const ears = new Ears(pusher.subscribe('cache-menu'));

  await ears.next('pusher:subscription_succeeded');
  await ears.next('pusher:cache_miss');
});

test('who comes later gets the last event, and nobody else gets it again (98, 99, 102)', async (t) => {
  const server = await startServer(t);
  const sdk = serverSdk(server);
  await sdk.trigger('cache-menu', 'menu', { soup: 'pho' });
  await sdk.trigger('cache-menu', 'menu', { soup: 'tom kha' });
  const early = await connect(t, server);
  const earlyEars = new Ears(early.subscribe('cache-menu'));
  assert.deepEqual((await earlyEars.next('menu')).data, { soup: 'tom kha' });

  const late = await connect(t, server);
  const lateEars = new Ears(late.subscribe('cache-menu'));

  await lateEars.next('pusher:subscription_succeeded');
  assert.deepEqual((await lateEars.next('menu')).data, { soup: 'tom kha' });
  await settled(early);
  assert.deepEqual(earlyEars.waiting, []);
});

test('every kind of channel has a cached form (103)', async (t) => {
  const server = await startServer(t);
  const sdk = serverSdk(server);
  const backEnd = await startBackEnd(t, sdk);
  const pusher = await connect(t, server, asUser(backEnd, 'ann'));

  for (const name of ['cache-menu', 'private-cache-menu', 'presence-cache-menu']) {
    await sdk.trigger(name, 'menu', { from: name });

    const ears = new Ears(pusher.subscribe(name));

    assert.deepEqual((await ears.next('menu')).data, { from: name });
  }
});

test('the socket that was left out gets the event when it comes back (105)', async (t) => {
  const server = await startServer(t);
  const pusher = await connect(t, server);
  const ears = new Ears(await subscribe(pusher, 'cache-menu'));
  const { socket_id } = pusher.connection;
  await serverSdk(server).trigger('cache-menu', 'menu', { soup: 'pho' }, { socket_id });
  await settled(pusher);
  assert.deepEqual(ears.waiting, []);

  pusher.unsubscribe('cache-menu');
  const again = new Ears(pusher.subscribe('cache-menu'));

  await again.next('menu');
});

test('a client event does not change the cache (100)', async (t) => {
  const server = await startServer(t);
  const sdk = serverSdk(server);
  const backEnd = await startBackEnd(t, sdk);
  await sdk.trigger('private-cache-menu', 'menu', { soup: 'pho' });
  const ann = await connect(t, server, asUser(backEnd, 'ann'));
  const channel = await subscribe(ann, 'private-cache-menu');
  channel.trigger('client-typing', {});
  await settled(ann);

  const bob = await connect(t, server, asUser(backEnd, 'bob'));
  const ears = new Ears(bob.subscribe('private-cache-menu'));

  await ears.next('menu');
  await settled(bob);
  assert.deepEqual(ears.waiting, []);
});

test('the API reads the cache (162)', async (t) => {
  const server = await startServer(t);
  const sdk = serverSdk(server);
  const params = { info: 'cache' };

  const before = await json(sdk.get({ path: '/channels/cache-menu', params }));
  await sdk.trigger('cache-menu', 'menu', { soup: 'pho' });
  const after = await json(sdk.get({ path: '/channels/cache-menu', params }));

  assert.deepEqual(before, { occupied: false, cache: null });
  assert.equal(after.cache.data, '{"soup":"pho"}');
  assert.ok(after.cache.ttl > 0 && after.cache.ttl <= 1_800);
});
