// The official Python SDK, which spells JSON and its requests in its own way.

import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { test } from 'node:test';

import { Ears, connect, settled, subscribe } from './support/clients.mjs';
import { pythonSdk } from './support/python.mjs';
import { startServer } from './support/server.mjs';
import { emitted } from './support/within.mjs';

/** Options of pusher-js that let the Python SDK sign, as a Python back end would. */
function signedBy(python, user) {
  const customHandler = (work) => (params, callback) => work(params).then((data) => callback(null, data), callback);
  return {
    channelAuthorization: {
      customHandler: customHandler(({ socketId, channelName }) =>
        python('authenticate', {
          socket_id: socketId,
          channel: channelName,
          ...(channelName.startsWith('presence-') && {
            custom_data: { user_id: user, user_info: { name: 'Zoë Кухня' } },
          }),
        }),
      ),
    },
    userAuthentication: {
      customHandler: customHandler(({ socketId }) =>
        python('authenticate_user', { socket_id: socketId, user_data: { id: user, name: 'Zoë' } }),
      ),
    },
  };
}

test('trigger reaches one and several channels and leaves out a socket (144, 145, 150, 167)', async (t) => {
  const server = await startServer(t);
  const python = pythonSdk(server);
  const till = await connect(t, server);
  const cook = await connect(t, server);
  const tillEars = new Ears(await subscribe(till, 'orders'));
  const cookEars = new Ears(await subscribe(cook, 'orders'));

  const answer = await python('trigger', {
    channels: ['orders', 'archive'],
    event_name: 'order:new',
    data: { table: 'Zoë 3' },
    socket_id: till.connection.socket_id,
  });

  assert.deepEqual(answer, {});
  assert.deepEqual((await cookEars.next('order:new')).data, { table: 'Zoë 3' });
  await settled(till);
  assert.deepEqual(tillEars.waiting, []);
});

test('trigger_batch keeps its order (155, 156, 167)', async (t) => {
  const server = await startServer(t);
  const pusher = await connect(t, server);
  const ears = new Ears(await subscribe(pusher, 'orders'));

  const answer = await pythonSdk(server)('trigger_batch', {
    batch: [
      { channel: 'orders', name: 'first', data: { n: 1 } },
      { channel: 'orders', name: 'second', data: { n: 2 } },
    ],
  });

  assert.deepEqual(answer, {});
  assert.deepEqual((await ears.next('second')).data, { n: 2 });
  assert.deepEqual(ears.waiting, ['first']);
});

test('what Python signs is accepted on private and presence channels (56, 58, 63)', async (t) => {
  const server = await startServer(t);
  const python = pythonSdk(server);
  const pusher = await connect(t, server, signedBy(python, 'cook-1'));

  await subscribe(pusher, 'private-orders');
  const channel = await subscribe(pusher, 'presence-kitchen');

  assert.deepEqual(channel.members.me, { id: 'cook-1', info: { name: 'Zoë Кухня' } });
});

test('channels_info, channel_info and users_info tell what is there (131, 157, 158, 160, 163, 167)', async (t) => {
  const server = await startServer(t);
  const python = pythonSdk(server);
  const pusher = await connect(t, server, signedBy(python, 'cook-1'));
  await subscribe(pusher, 'presence-kitchen');
  await subscribe(pusher, 'orders');

  const presence = await python('channels_info', { prefix_filter: 'presence-', attributes: ['user_count'] });

  assert.deepEqual(presence, { channels: { 'presence-kitchen': { user_count: 1 } } });
  assert.deepEqual(await python('channels_info', {}), { channels: { orders: {}, 'presence-kitchen': {} } });
  assert.deepEqual(await python('channel_info', { channel: 'presence-kitchen', attributes: ['user_count'] }), {
    occupied: true,
    user_count: 1,
  });
  assert.deepEqual(await python('users_info', { channel: 'presence-kitchen' }), { users: [{ id: 'cook-1' }] });
});

test('a user whom Python signs in is terminated by Python (113, 126, 141, 167)', async (t) => {
  const server = await startServer(t);
  const python = pythonSdk(server);
  const pusher = await connect(t, server, signedBy(python, 'cook-1'));
  const success = emitted(pusher, 'pusher:signin_success');
  pusher.signin();
  await success;
  const closed = emitted(pusher.connection, 'error');

  const answer = await python('terminate_user_connections', { user_id: 'cook-1' });

  assert.deepEqual(answer, {});
  assert.equal((await closed).data.code, 4009);
  assert.equal(pusher.user.user_data?.name ?? 'signed out', 'signed out');
});

test('what Python encrypts is decrypted by pusher-js (94)', async (t) => {
  const server = await startServer(t);
  const python = pythonSdk(server, { encryption_master_key_base64: randomBytes(32).toString('base64') });
  const pusher = await connect(t, server, signedBy(python, 'cook-1'));
  const ears = new Ears(await subscribe(pusher, 'private-encrypted-orders'));

  await python('trigger', { channels: 'private-encrypted-orders', event_name: 'order', data: { table: 'Zoë' } });

  assert.deepEqual((await ears.next('order')).data, { table: 'Zoë' });
});

test('refusals reach the Python developer as the SDK promises (136, 147)', async (t) => {
  const server = await startServer(t);
  const event = { channels: 'orders', event_name: 'order' };

  const forbidden = await pythonSdk(server, { secret: 'wrong' })('trigger', { ...event, data: {} });
  const tooLarge = await pythonSdk(server)('trigger', { ...event, data: 'x'.repeat(10_241) });

  assert.equal(forbidden.error, 'PusherBadAuth');
  assert.match(forbidden.message, /^Invalid signature/);
  assert.equal(tooLarge.error, 'PusherBadStatus');
  assert.match(tooLarge.message, /10240/);
});
