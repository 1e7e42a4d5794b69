// Real pages in a real browser, with pusher-js from a script tag.

import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { describe, test } from 'node:test';

import { startBackEnd } from './support/back_end.mjs';
import { FILES, openPage, startBrowser } from './support/browser.mjs';
import { serverSdk } from './support/clients.mjs';
import { startServer } from './support/server.mjs';

async function site(t, version) {
  const server = await startServer(t);
  const sdk = serverSdk(server, { encryptionMasterKeyBase64: randomBytes(32).toString('base64') });
  const backEnd = await startBackEnd(t, sdk, { files: FILES });
  const browser = await startBrowser(t);
  const open = async (user) => {
    const page = await openPage(browser, { backEnd, server, user, version });
    await page.state('connected');
    return page;
  };
  return { server, sdk, open };
}

for (const version of ['8.6.0', '4.4.0']) {
  describe(`pages with pusher-js ${version}`, () => {
    test('hear public and private channels (17, 38, 58)', async (t) => {
      const { sdk, open } = await site(t, version);
      const page = await open('ann');
      await page.subscribe('orders');
      await page.subscribe('private-orders');

      await sdk.trigger('orders', 'public-order', { id: 7 });
      await sdk.trigger('private-orders', 'private-order', { guest: 'Zoë 🍜' });

      assert.deepEqual(await page.hears('public-order'), { id: 7 });
      assert.deepEqual(await page.hears('private-order'), { guest: 'Zoë 🍜' });
    });

    test('see who opens and who closes another page (63, 69, 72)', async (t) => {
      const { open } = await site(t, version);
      const ann = await open('ann');
      await ann.subscribe('presence-kitchen');
      const bob = await open('bob');
      await bob.subscribe('presence-kitchen');

      assert.deepEqual(await bob.members('presence-kitchen'), ['ann', 'bob']);
      assert.deepEqual(await ann.hears('pusher:member_added'), { id: 'bob', info: { name: 'BOB' } });
      await bob.page.close();

      assert.equal((await ann.hears('pusher:member_removed')).id, 'bob');
    });

    test('send each other client events (80, 89)', async (t) => {
      const { open } = await site(t, version);
      const ann = await open('ann');
      const bob = await open('bob');
      await ann.subscribe('private-kitchen');
      await bob.subscribe('private-kitchen');

      await ann.trigger('private-kitchen', 'client-bump', { order: 7 });
      assert.deepEqual(await bob.hears('client-bump'), { order: 7 });
      await bob.trigger('private-kitchen', 'client-thanks', {});

      await ann.hears('client-thanks');
      assert.equal(await ann.hasHeard('client-bump'), false);
    });
  });
}

for (const version of ['8.6.0-with-encryption', '4.4.0']) {
  test(`a page with pusher-js ${version} decrypts (94)`, async (t) => {
    const { sdk, open } = await site(t, version);
    const page = await open('ann');
    await page.subscribe('private-encrypted-orders');

    await sdk.trigger('private-encrypted-orders', 'order', { guest: 'Zoë 🍜' });

    assert.deepEqual(await page.hears('order'), { guest: 'Zoë 🍜' });
  });
}

test('a page finds the server again after a restart and hears what comes then (19)', async (t) => {
  const { server, sdk, open } = await site(t, '8.6.0');
  const page = await open('ann');
  await page.subscribe('orders');
  const socketId = await page.socketId();

  await server.stop();
  await server.start();
  await page.reconnected(socketId);
  await page.subscribe('orders');
  await sdk.trigger('orders', 'order', { id: 7 });

  assert.deepEqual(await page.hears('order'), { id: 7 });
});
