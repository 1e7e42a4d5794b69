// How many connections a channel has, told to those who are on it.

import assert from 'node:assert/strict';
import { test } from 'node:test';

import { asUser, startBackEnd } from './support/back_end.mjs';
import { Ears, PUSHER_JS, connect, serverSdk, settled, subscribe } from './support/clients.mjs';
import { startServer } from './support/server.mjs';

const COUNTED = { app: 'subscription_count = true' };

for (const version of ['8.6.0', '7.6.0']) {
  test(`pusher-js ${version} hears the count when somebody comes or leaves (108, 109)`, async (t) => {
    const server = await startServer(t, COUNTED);
    const ann = await connect(t, server, { version });
    const channel = ann.subscribe('orders');
    const ears = new Ears(channel);
    assert.deepEqual(await countOf(ears), 1);

    const bob = await connect(t, server, { version });
    const bobEars = new Ears(bob.subscribe('orders'));
    assert.equal(await countOf(bobEars), 2);
    assert.equal(await countOf(ears), 2);
    assert.equal(channel.subscription_count ?? channel.subscriptionCount, 2);

    bob.disconnect();
    assert.equal(await countOf(ears), 1);
  });
}

for (const version of Object.keys(PUSHER_JS)) {
  test(`pusher-js ${version} is not disturbed by counts (108)`, async (t) => {
    const server = await startServer(t, COUNTED);
    const pusher = await connect(t, server, { version });
    const ears = new Ears(await subscribe(pusher, 'orders'));

    await serverSdk(server).trigger('orders', 'order', {});

    await ears.next('order');
  });
}

test('presence channels are not counted, and none is by default (107, 110)', async (t) => {
  const counted = await startServer(t, COUNTED);
  const backEnd = await startBackEnd(t, serverSdk(counted));
  const silent = await startServer(t);
  const names = [];

  for (const [server, name] of [[counted, 'presence-kitchen'], [silent, 'orders']]) {
    const pusher = await connect(t, server, asUser(backEnd, 'ann'));
    pusher.connection.bind('message', ({ event }) => names.push(event));
    await subscribe(pusher, name);
    await settled(pusher);
  }

  assert.deepEqual(names.filter((name) => name.includes('count')), []);
});

async function countOf(ears) {
  return (await ears.next('pusher:subscription_count')).data.subscription_count;
}
