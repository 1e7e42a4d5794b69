// docs/migrating.md as it is written, "From hosted Pusher" and Echo on a path prefix.
// Only names and ports are others.

import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import { before, test } from 'node:test';

import Echo from 'laravel-echo';
import ServerSdk from 'pusher';

import { asUser, startBackEnd } from './support/back_end.mjs';
import { tlsSetting } from './support/certificate.mjs';
import { atEnd } from './support/cleanup.mjs';
import { Ears, Pusher, options, serverSdk, subscribe } from './support/clients.mjs';
import { APP, startServer } from './support/server.mjs';
import { within } from './support/within.mjs';

// The certificate is one of the test.
before(() => {
  process.removeAllListeners('warning');
  process.env.NODE_TLS_REJECT_UNAUTHORIZED = '0';
});

/** The JavaScript blocks of one section of the document. */
async function blocksOf(heading) {
  const text = await readFile(new URL('../../docs/migrating.md', import.meta.url), 'utf8');
  const section = text.split(/^## /m).find((each) => each.startsWith(heading));
  return [...section.matchAll(/^```js\n(.*?)^```$/gms)].map(([, code]) => code);
}

/** Runs a block that makes `pusher` with the class `Pusher`. */
function made(code, Class) {
  return new Function('Pusher', `${code}\nreturn pusher;`)(Class);
}

test('the page and the back end of "From hosted Pusher" find the server', async (t) => {
  const server = await startServer(t, { id: '1', server: await tlsSetting(t) });
  const [page, backEnd] = await blocksOf('From hosted Pusher');
  const here = (code) =>
    code.replaceAll('realtime.example', server.host).replaceAll(/\b(wssPort|httpsPort): 443/g, `$1: ${server.port}`);

  const pusher = made(here(page), Pusher);
  atEnd(t, () => pusher.disconnect());
  const ears = new Ears(await subscribe(pusher, 'orders'));
  // The SDK's port for TLS is 443, where a test may not listen.
  const sdk = made(here(backEnd).replace('useTLS: true', `useTLS: true, port: ${server.port}`), ServerSdk);
  await sdk.trigger('orders', 'order', { id: 7 });

  assert.deepEqual((await ears.next('order')).data, { id: 7 });
  assert.equal(pusher.config.httpHost, server.host);
});

for (const broadcaster of ['pusher', 'reverb']) {
  test(`Echo with ${broadcaster} reaches a server on a path prefix with wsPath`, async (t) => {
    const server = await startServer(t, { server: 'path_prefix = "/realtime"' });
    const backEnd = await startBackEnd(t, serverSdk(server));
    const open = async (user) => {
      const echo = new Echo({
        broadcaster,
        Pusher,
        key: APP.key,
        ...options(server),
        ...asUser(backEnd, user),
        wsPath: '/realtime',
      });
      atEnd(t, () => echo.disconnect());
      const channel = echo.private('orders');
      await within(new Promise((resolve) => channel.subscribed(resolve)), `the subscription of ${user}`);
      return channel;
    };
    const [ann, bob] = [await open('ann'), await open('bob')];
    const whisper = new Promise((resolve) => bob.listenForWhisper('typing', resolve));

    ann.whisper('typing', { name: 'ann' });

    assert.deepEqual(await within(whisper, 'the whisper'), { name: 'ann' });
  });
}
