// The server goes away and comes back; pusher-js must find it by itself.

import assert from 'node:assert/strict';
import { describe, test } from 'node:test';

import { asUser, startBackEnd } from './support/back_end.mjs';
import { Ears, PUSHER_JS, connect, reaches, serverSdk, settled, subscribe } from './support/clients.mjs';
import { startServer } from './support/server.mjs';
import { emitted } from './support/within.mjs';

// pusher-js gives an attempt 15 s before it starts another one.
const ATTEMPT_MS = 40_000;

// Together, because they spend their time waiting for that.
describe('reconnection', { concurrency: true }, () => {
  for (const version of Object.keys(PUSHER_JS)) {
    test(`pusher-js ${version} comes back after a crash and subscribes again`, async (t) => {
      const server = await startServer(t);
      const sdk = serverSdk(server);
      const backEnd = await startBackEnd(t, sdk);
      const pusher = await connect(t, server, { version, ...asUser(backEnd, 'ann') });
      const open = new Ears(await subscribe(pusher, 'orders'));
      const closed = new Ears(await subscribe(pusher, 'presence-kitchen'));
      const socketId = pusher.connection.socket_id;
      const lost = reaches(pusher, 'connecting');

      await server.kill();
      await lost;
      await server.start();
      await open.next('pusher:subscription_succeeded', ATTEMPT_MS);
      await closed.next('pusher:subscription_succeeded', ATTEMPT_MS);
      await sdk.trigger(['orders', 'presence-kitchen'], 'order', { id: 7 });

      await open.next('order');
      await closed.next('order');
      assert.notEqual(pusher.connection.socket_id, socketId);
    });
  }

  test('an orderly stop tells clients to reconnect with 4200, and they do (19)', async (t) => {
    const server = await startServer(t);
    const pusher = await connect(t, server);
    const ears = new Ears(await subscribe(pusher, 'orders'));
    const said = emitted(pusher.connection, 'error');

    await server.stop();
    await server.start();

    assert.equal((await said).data.code, 4200);
    await ears.next('pusher:subscription_succeeded', ATTEMPT_MS);
    await serverSdk(server).trigger('orders', 'order', {});
    await ears.next('order');
  });

  test('a signed-in user is signed in again after a reconnect', async (t) => {
    const server = await startServer(t);
    const sdk = serverSdk(server);
    const backEnd = await startBackEnd(t, sdk);
    const pusher = await connect(t, server, asUser(backEnd, 'ann'));
    const heard = new Ears(pusher.user);
    const first = emitted(pusher, 'pusher:signin_success');
    pusher.signin();
    await first;
    const again = emitted(pusher, 'pusher:signin_success', 'the second sign-in', ATTEMPT_MS);

    await server.kill();
    await server.start();
    await again;
    await settled(pusher);
    await sdk.sendToUser('ann', 'bill', { total: 42 });

    assert.deepEqual((await heard.next('bill')).data, { total: 42 });
  });
});
