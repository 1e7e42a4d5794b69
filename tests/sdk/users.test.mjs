// Signed-in users: events to all their connections, who is online, and their end.

import assert from 'node:assert/strict';
import { test } from 'node:test';

import { asUser, startBackEnd } from './support/back_end.mjs';
import { Ears, connect, json, serverSdk, settled, subscribe } from './support/clients.mjs';
import { startServer } from './support/server.mjs';
import { emitted } from './support/within.mjs';

async function restaurant(t, { profile, ...serverOptions } = {}) {
  const server = await startServer(t, serverOptions);
  const sdk = serverSdk(server);
  const backEnd = await startBackEnd(t, sdk, { profile });
  const signIn = async (user, more) => {
    const pusher = await connect(t, server, { ...asUser(backEnd, user), ...more });
    // The user's own channel carries server-to-user events.
    const heard = new Ears(pusher.user);
    const success = emitted(pusher, 'pusher:signin_success');
    pusher.signin();
    await success;
    return { pusher, heard };
  };
  return { server, sdk, backEnd, signIn };
}

/** Waits until `pusher` hears server-to-user events: it subscribes after sign-in. */
async function hearsEvents({ pusher }) {
  await settled(pusher);
}

test('a user signs in and is told its own data (112)', async (t) => {
  const { signIn } = await restaurant(t);

  const { pusher } = await signIn('ann');

  assert.deepEqual(pusher.user.user_data, { id: 'ann', user_info: { name: 'ANN' } });
});

test('an event to a user reaches all its connections and nobody else (118, 119, 120)', async (t) => {
  const { sdk, signIn } = await restaurant(t);
  const phone = await signIn('ann');
  const tablet = await signIn('ann');
  const bob = await signIn('bob');
  await Promise.all([phone, tablet, bob].map(hearsEvents));

  await sdk.sendToUser('ann', 'bill', { total: 42 });

  assert.deepEqual((await phone.heard.next('bill')).data, { total: 42 });
  assert.deepEqual((await tablet.heard.next('bill')).data, { total: 42 });
  phone.pusher.disconnect();
  await sdk.sendToUser('ann', 'receipt', {});
  await tablet.heard.next('receipt');
  await settled(bob.pusher);
  assert.deepEqual(bob.heard.waiting, []);
});

test('a sign-in that another secret signed is an error, and the client stays (116)', async (t) => {
  const { server } = await restaurant(t);
  const impostor = await startBackEnd(t, serverSdk(server, { secret: 'another-secret' }));
  const pusher = await connect(t, server, asUser(impostor, 'ann'));

  pusher.signin();
  const error = await emitted(pusher.connection, 'error');

  assert.equal(error.data.code, null);
  await settled(pusher);
  assert.equal(pusher.connection.state, 'connected');
});

test('the channel of another user is closed to everybody else (118)', async (t) => {
  const { signIn } = await restaurant(t);
  const { pusher } = await signIn('bob');

  pusher.send_event('pusher:subscribe', { auth: '', channel: '#server-to-user-ann' });
  const error = await emitted(pusher.connection, 'error');

  assert.equal(error.data.code, null);
});

test('channels of users are not listed (121)', async (t) => {
  const { sdk, signIn } = await restaurant(t);
  const ann = await signIn('ann');
  await hearsEvents(ann);

  assert.deepEqual(await json(sdk.get({ path: '/channels' })), { channels: {} });
});

test('a watchlist tells who is online and who leaves (122, 123)', async (t) => {
  const { signIn } = await restaurant(t, {
    app: 'watchlist = true',
    profile: (user) => ({ id: user, watchlist: user === 'ann' ? ['bob', 'carol'] : [] }),
  });
  const carol = await signIn('carol');
  const events = [];
  const ann = await signIn('ann');
  const watch = new Ears(ann.pusher.user.watchlist);
  ann.pusher.user.watchlist.bind_global((name, { user_ids: ids }) => events.push([name, ...ids]));
  await settled(ann.pusher);

  const phone = await signIn('bob');
  await watch.next('online');
  const tablet = await signIn('bob');
  phone.pusher.disconnect();
  carol.pusher.disconnect();
  await watch.next('offline');
  tablet.pusher.disconnect();
  await watch.next('offline');

  assert.deepEqual(events.slice(-3), [
    ['online', 'bob'],
    ['offline', 'carol'],
    ['offline', 'bob'],
  ]);
});

test('a watcher first hears the state of all whom it watches (122)', async (t) => {
  const { server, backEnd, signIn } = await restaurant(t, {
    app: 'watchlist = true',
    profile: (user) => ({ id: user, watchlist: user === 'ann' ? ['bob', 'carol'] : [] }),
  });
  await signIn('carol');
  const pusher = await connect(t, server, asUser(backEnd, 'ann'));
  const watch = new Ears(pusher.user.watchlist);

  pusher.signin();

  assert.deepEqual((await watch.next('online')).data, { name: 'online', user_ids: ['carol'] });
  assert.deepEqual((await watch.next('offline')).data, { name: 'offline', user_ids: ['bob'] });
});

test('a watchlist of 101 is cut and says so with 4302 (124)', async (t) => {
  const watchlist = Array.from({ length: 101 }, (_, n) => `user-${n}`);
  const { server, backEnd } = await restaurant(t, {
    app: 'watchlist = true',
    profile: (user) => ({ id: user, watchlist }),
  });
  const pusher = await connect(t, server, asUser(backEnd, 'ann'));
  const watch = new Ears(pusher.user.watchlist);
  const said = emitted(pusher.connection, 'error');

  pusher.signin();

  assert.equal((await said).data.code, 4302);
  assert.equal((await watch.next('offline')).data.user_ids.length, 100);
});

test('terminating a user closes all its connections with 4009, for good (126, 127, 128)', async (t) => {
  const { server, sdk, backEnd, signIn } = await restaurant(t);
  const connections = [await signIn('ann'), await signIn('ann')];
  const bob = await signIn('bob');
  // The same id in presence data alone is somebody who did not sign in.
  const visitor = await connect(t, server, asUser(backEnd, 'ann'));
  await subscribe(visitor, 'presence-kitchen');
  const errors = connections.map(({ pusher }) => emitted(pusher.connection, 'error'));

  const answer = await sdk.terminateUserConnections('ann');

  assert.deepEqual(await answer.json(), {});
  for (const error of await Promise.all(errors)) {
    assert.equal(error.data.code, 4009);
  }
  for (const { pusher } of connections) {
    assert.equal(pusher.connection.state, 'disconnected');
  }
  await settled(bob.pusher);
  await settled(visitor);
  assert.deepEqual(await json(sdk.terminateUserConnections('nobody')), {});
});

test('a signed-in user enters a presence channel without presence data (74)', async (t) => {
  const { sdk, signIn } = await restaurant(t);
  const authorize = ({ socketId, channelName }, callback) =>
    callback(null, sdk.authorizeChannel(socketId, channelName));
  const { pusher } = await signIn('ann', { channelAuthorization: { customHandler: authorize } });

  const channel = await subscribe(pusher, 'presence-kitchen');

  assert.deepEqual(channel.members.me, { id: 'ann', info: { name: 'ANN' } });
  const { users } = await json(sdk.get({ path: '/channels/presence-kitchen/users' }));
  assert.deepEqual(users, [{ id: 'ann' }]);
});
