// The same over TLS, which is what pusher-js does unless told otherwise.

import assert from 'node:assert/strict';
import { before, test } from 'node:test';

import { startBackEnd } from './support/back_end.mjs';
import { FILES, startBrowser } from './support/browser.mjs';
import { tlsSetting } from './support/certificate.mjs';
import { Ears, PUSHER_JS, client, codeOf, connect, reaches, serverSdk, subscribe } from './support/clients.mjs';
import { APP, startServer } from './support/server.mjs';
import { emitted } from './support/within.mjs';

// Whether clients believe a certificate is their affair; these must only be able
// to talk to a server that has one.
before(() => {
  process.removeAllListeners('warning');
  process.env.NODE_TLS_REJECT_UNAUTHORIZED = '0';
});

for (const version of Object.keys(PUSHER_JS)) {
  test(`pusher-js ${version} and the server SDK talk over TLS`, async (t) => {
    const server = await startServer(t, { server: await tlsSetting(t), app: 'tls_only = true' });
    const pusher = await connect(t, server, { version, forceTLS: true, wssPort: server.port });
    const ears = new Ears(await subscribe(pusher, 'orders'));

    await serverSdk(server, { useTLS: true }).trigger('orders', 'order', { id: 7 });

    assert.deepEqual((await ears.next('order')).data, { id: 7 });
  });
}

test('an app for TLS only sends plain pusher-js there with 4000 (13)', async (t) => {
  const plain = await startServer(t, { app: 'tls_only = true' });
  const secure = await startServer(t, { server: await tlsSetting(t), app: 'tls_only = true' });
  const pusher = client(t, plain, { enabledTransports: ['ws', 'wss'], wssPort: secure.port });

  const error = await emitted(pusher.connection, 'error');

  assert.equal(codeOf(error), 4000);
  await reaches(pusher, 'connected');
  const ears = new Ears(await subscribe(pusher, 'orders'));
  await serverSdk(secure, { useTLS: true }).trigger('orders', 'order', {});
  await ears.next('order');
});

test('a page connects over TLS', async (t) => {
  const server = await startServer(t, { server: await tlsSetting(t) });
  const backEnd = await startBackEnd(t, serverSdk(server), { files: FILES });
  const browser = await startBrowser(t);
  const page = await (await browser.newContext({ ignoreHTTPSErrors: true })).newPage();
  await page.goto(backEnd);
  await page.addScriptTag({ url: `${backEnd}/pusher-8.6.0.js` });

  const state = await page.evaluate(
    ({ key, port }) =>
      new Promise((resolve) => {
        const pusher = new Pusher(key, { cluster: '', wsHost: '127.0.0.1', wssPort: port, enabledTransports: ['ws'] });
        pusher.connection.bind('connected', () => resolve('connected'));
        pusher.connection.bind('unavailable', () => resolve('unavailable'));
      }),
    { key: APP.key, port: server.port },
  );

  assert.equal(state, 'connected');
});
