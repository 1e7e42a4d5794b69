// Client events: pages talk to each other without a back end.

import assert from 'node:assert/strict';
import { test } from 'node:test';

import { asUser, startBackEnd } from './support/back_end.mjs';
import { Ears, PUSHER_JS, connect, serverSdk, settled, subscribe } from './support/clients.mjs';
import { startServer } from './support/server.mjs';
import { emitted } from './support/within.mjs';

async function room(t, name, serverOptions) {
  const server = await startServer(t, serverOptions);
  const backEnd = await startBackEnd(t, serverSdk(server));
  return async (user, more) => {
    const pusher = await connect(t, server, { ...asUser(backEnd, user), ...more });
    const channel = await subscribe(pusher, name);
    return { pusher, channel, ears: new Ears(channel) };
  };
}

for (const version of Object.keys(PUSHER_JS)) {
  test(`pusher-js ${version} reaches others on a private channel, not itself (80, 83, 89)`, async (t) => {
    const enter = await room(t, 'private-kitchen');
    const ann = await enter('ann', { version });
    const bob = await enter('bob', { version });

    assert.ok(ann.channel.trigger('client-bump', { order: 7, deep: { list: [1, 'ü'] } }));

    const { data, metadata } = await bob.ears.next('client-bump');
    assert.deepEqual(data, { order: 7, deep: { list: [1, 'ü'] } });
    assert.equal(metadata?.user_id, undefined);
    await settled(ann.pusher);
    assert.deepEqual(ann.ears.waiting, []);
  });
}

test('on a presence channel the receiver is told who sent it (81, 82)', async (t) => {
  const enter = await room(t, 'presence-kitchen');
  const ann = await enter('ann');
  const tablet = await enter('ann');
  const bob = await enter('bob');
  const heard = new Promise((resolve) => {
    bob.channel.bind('client-bump', (data, metadata) => resolve(metadata));
  });

  // What the page claims about itself is not believed.
  ann.pusher.send_event('client-bump', { order: 7 }, 'presence-kitchen');
  ann.channel.trigger('client-forged', { user_id: 'bob' });

  assert.deepEqual(await heard, { user_id: 'ann' });
  await bob.ears.next('client-forged');
  await tablet.ears.next('client-bump');
});

test('text arrives as text (89)', async (t) => {
  const enter = await room(t, 'private-kitchen');
  const ann = await enter('ann');
  const bob = await enter('bob');

  ann.channel.trigger('client-note', 'no onions');

  assert.equal((await bob.ears.next('client-note')).data, 'no onions');
});

test('an app without client events says what to switch on (84)', async (t) => {
  const enter = await room(t, 'private-kitchen', { clientEvents: false });
  const ann = await enter('ann');
  const refused = emitted(ann.pusher.connection, 'error');

  ann.channel.trigger('client-bump', {});

  assert.match((await refused).data.message, /^To send client events, you must enable this feature/);
});

test('public channels take no client events (87)', async (t) => {
  const enter = await room(t, 'kitchen');
  const ann = await enter('ann');
  const bob = await enter('bob');

  // pusher-js only warns in its log and sends all the same.
  ann.pusher.send_event('client-bump', {}, 'kitchen');
  const error = await emitted(ann.pusher.connection, 'error');

  assert.equal(error.data.code, null);
  await settled(bob.pusher);
  assert.deepEqual(bob.ears.waiting, []);
});

test('the eleventh event of a second is dropped with 4301, and the client stays (91)', async (t) => {
  const enter = await room(t, 'private-kitchen');
  const ann = await enter('ann');
  const bob = await enter('bob');
  const refused = emitted(ann.pusher.connection, 'error');

  for (let n = 0; n < 11; n += 1) {
    ann.channel.trigger('client-bump', { n });
  }

  assert.equal((await refused).data.code, 4301);
  await settled(ann.pusher);
  await settled(bob.pusher);
  assert.equal(bob.ears.waiting.length, 10);
  assert.equal(ann.pusher.connection.state, 'connected');
});
