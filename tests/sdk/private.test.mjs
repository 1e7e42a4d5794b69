// Private channels: the page asks its back end, which signs with the server SDK.

import assert from 'node:assert/strict';
import { test } from 'node:test';

import { asUser, startBackEnd } from './support/back_end.mjs';
import { Ears, PUSHER_JS, connect, serverSdk, settled, subscribe } from './support/clients.mjs';
import { startServer } from './support/server.mjs';
import { emitted } from './support/within.mjs';

for (const version of Object.keys(PUSHER_JS)) {
  test(`pusher-js ${version} subscribes to a private channel that its back end signs (58)`, async (t) => {
    const server = await startServer(t);
    const sdk = serverSdk(server);
    const backEnd = await startBackEnd(t, sdk);
    const pusher = await connect(t, server, { version, ...asUser(backEnd, 'ann') });

    const ears = new Ears(await subscribe(pusher, 'private-orders'));
    await sdk.trigger('private-orders', 'order', { id: 7 });

    assert.deepEqual((await ears.next('order')).data, { id: 7 });
  });
}

test('a wrong signature is an error on the channel, says what to sign, and a later try succeeds (50, 59, 60)', async (t) => {
  const server = await startServer(t);
  const impostor = await startBackEnd(t, serverSdk(server, { secret: 'another-secret' }));
  const pusher = await connect(t, server, asUser(impostor, 'ann'));
  const said = emitted(pusher.connection, 'error');
  const channel = pusher.subscribe('private-orders');

  const refused = await emitted(channel, 'pusher:subscription_error');

  assert.equal(refused.type, 'AuthError');
  assert.equal(refused.status, 401);
  const toSign = `${pusher.connection.socket_id}:private-orders`;
  assert.ok((await said).data.message.includes(toSign), 'the error names the text to sign');
  // pusher-js itself tries again only after a reconnect.
  const auth = serverSdk(server).authorizeChannel(pusher.connection.socket_id, 'private-orders');
  const succeeded = emitted(channel, 'pusher:subscription_succeeded');
  pusher.send_event('pusher:subscribe', { ...auth, channel: 'private-orders' });
  await succeeded;
});

test('a key that the app does not have is refused (53)', async (t) => {
  const server = await startServer(t);
  const backEnd = await startBackEnd(t, serverSdk(server, { key: 'another-key' }));
  const pusher = await connect(t, server, asUser(backEnd, 'ann'));
  const said = emitted(pusher.connection, 'error');

  const refused = emitted(pusher.subscribe('private-orders'), 'pusher:subscription_error');

  assert.equal((await refused).status, 401);
  assert.equal((await said).data.message, "Invalid key in subscription auth data: 'another-key'");
});

test('a signature of another socket is refused (54)', async (t) => {
  const server = await startServer(t);
  const sdk = serverSdk(server);
  const other = await connect(t, server);
  const pusher = await connect(t, server, {
    channelAuthorization: {
      customHandler: ({ channelName }, callback) =>
        callback(null, sdk.authorizeChannel(other.connection.socket_id, channelName)),
    },
  });

  const refused = await emitted(pusher.subscribe('private-orders'), 'pusher:subscription_error');

  assert.equal(refused.status, 401);
});

test('what the back end forbids never reaches the server, and the client stays', async (t) => {
  const server = await startServer(t);
  const backEnd = await startBackEnd(t, serverSdk(server));
  const pusher = await connect(t, server, asUser(backEnd, 'ann'));

  const refused = await emitted(pusher.subscribe('private-forbidden'), 'pusher:subscription_error');

  assert.equal(refused.status, 403);
  await settled(pusher);
  assert.equal(pusher.connection.state, 'connected');
});

test('a second pair of keys signs as well as the first (62, 140)', async (t) => {
  const second = { key: 'second-key', secret: 'second-secret' };
  const server = await startServer(t, { app: `keys = [{ key = "${second.key}", secret = "${second.secret}" }]` });
  const sdk = serverSdk(server, second);
  const backEnd = await startBackEnd(t, sdk);
  const pusher = await connect(t, server, asUser(backEnd, 'ann'));

  const ears = new Ears(await subscribe(pusher, 'private-orders'));
  await sdk.trigger('private-orders', 'order', {});

  await ears.next('order');
});

test('a connection that never proves itself is closed with 4009, one that does stays (129)', async (t) => {
  const server = await startServer(t, {
    app: 'authorized_connections = true',
    connection: 'authorization_timeout = 1',
  });
  const backEnd = await startBackEnd(t, serverSdk(server));
  const stranger = await connect(t, server);
  const guest = await connect(t, server, asUser(backEnd, 'ann'));
  await subscribe(stranger, 'public');
  await subscribe(guest, 'private-orders');

  const error = await emitted(stranger.connection, 'error');

  assert.equal(error.data.code, 4009);
  await settled(guest);
  assert.equal(guest.connection.state, 'connected');
});
