// pusher-js without WebSockets, in Node and in pages, behind a proxy that kills
// them (checklist 181 to 199).

import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import { describe, test } from 'node:test';

import { asUser, startBackEnd } from './support/back_end.mjs';
import { FILES, startBrowser } from './support/browser.mjs';
import { Ears, PUSHER_JS, client, codeOf, connect, reaches, serverSdk, subscribe } from './support/clients.mjs';
import { everyWayTo, startProxy } from './support/proxy.mjs';
import { APP, startServer } from './support/server.mjs';
import { emitted, eventually, within } from './support/within.mjs';

// What pusher-js 8 asks for by itself when nothing else is said.
const TRANSPORTS = ['xhr_streaming', 'xhr_polling'];

/** The transport that a client ended up with. */
function transportOf(pusher) {
  return pusher.connection.connection.transport.name;
}

for (const transport of TRANSPORTS) {
  describe(`pusher-js in Node over ${transport}`, () => {
    async function site(t, settings) {
      const server = await startServer(t, settings);
      const proxy = await startProxy(t, server);
      const sdk = serverSdk(server);
      const backEnd = await startBackEnd(t, sdk);
      const open = (user, more) =>
        connect(t, server, { ...everyWayTo(proxy, [transport]), ...asUser(backEnd, user), ...more });
      return { server, proxy, sdk, open };
    }

    test('hears channels of all kinds, in any language (182 to 184, 197)', async (t) => {
      const { sdk, open } = await site(t);
      const ann = await open('ann');
      assert.equal(transportOf(ann), transport);
      const everybody = new Ears(await subscribe(ann, 'orders'));
      const secret = new Ears(await subscribe(ann, 'private-orders'));

      await sdk.trigger('orders', 'order', { guest: 'Zoë "Кухня" \\ 🍜 \u2028' });
      await sdk.trigger('private-orders', 'order', 'plain text');

      assert.deepEqual((await everybody.next('order')).data, { guest: 'Zoë "Кухня" \\ 🍜 \u2028' });
      assert.equal((await secret.next('order')).data, 'plain text');
    });

    test('sees members, sends client events and signs in (197)', async (t) => {
      const { sdk, open } = await site(t, { tables: '[http_fallback]\nsession_grace = 2' });
      const ann = await open('ann');
      const annChannel = await subscribe(ann, 'presence-kitchen');
      const annEars = new Ears(annChannel);
      const bob = await open('bob');
      const bobChannel = await subscribe(bob, 'presence-kitchen');
      assert.equal((await annEars.next('pusher:member_added')).data.id, 'bob');
      assert.deepEqual(Object.keys(bobChannel.members.members).sort(), ['ann', 'bob']);

      const bumped = new Promise((resolve) => {
        bobChannel.bind('client-bump', (data, { user_id }) => resolve([data, user_id]));
      });
      annChannel.trigger('client-bump', { order: 7 });
      assert.deepEqual(await within(bumped, 'the client event'), [{ order: 7 }, 'ann']);

      bob.signin();
      // Requests may overtake each other, so a ping would prove nothing here.
      await eventually(() => bob.user.serverToUserChannel?.subscribed, 'the channel of the user');
      const hello = new Promise((resolve) => bob.user.bind('hello', resolve));
      await sdk.sendToUser('bob', 'hello', { to: 'bob' });
      assert.deepEqual(await within(hello, 'the event for the user'), { to: 'bob' });

      bob.disconnect();
      assert.equal((await annEars.next('pusher:member_removed', 40_000)).data.id, 'bob');
    });

    test('loses none of 300 messages of 5 kB, and keeps their order (188)', async (t) => {
      const { sdk, open } = await site(t);
      const ann = await open('ann');
      const ears = new Ears(await subscribe(ann, 'orders'));
      const padding = 'ж'.repeat(2_500);

      for (let number = 0; number < 300; number += 10) {
        const batch = Array.from({ length: 10 }, (_, step) => ({
          channel: 'orders',
          name: 'order',
          data: { number: number + step, padding },
        }));
        await sdk.triggerBatch(batch);
      }

      for (let number = 0; number < 300; number += 1) {
        assert.equal((await ears.next('order')).data.number, number);
      }
      assert.equal(ann.connection.state, 'connected');
    });

    test('is told why it is refused, and stops (193)', async (t) => {
      const { server, proxy } = await site(t);
      const pusher = client(t, server, { ...everyWayTo(proxy, [transport]), key: 'nobody' });

      const error = await emitted(pusher.connection, 'error');

      assert.equal(codeOf(error), 4001);
      await reaches(pusher, 'disconnected');
    });

    test('gets what its session has missed', async (t) => {
      const { sdk, open } = await site(t, { app: 'history = [{ channels = "orders" }]' });
      const session = { httpPath: '/s/page-of-ann/pusher' };
      const first = await open('ann', session);
      const before = new Ears(first.subscribe('orders'));
      assert.deepEqual((await before.next('fanfare:gap')).data, { reason: 'new' });
      first.disconnect();
      await sdk.trigger('orders', 'order', { id: 1 });
      await sdk.trigger('orders', 'order', { id: 2 });

      const again = await open('ann', session);
      const ears = new Ears(again.subscribe('orders'));

      assert.equal(transportOf(again), transport);
      for (const id of [1, 2]) {
        assert.deepEqual((await ears.next('order')).data, { id });
      }
      await sdk.trigger('orders', 'order', { id: 3 });
      assert.deepEqual((await ears.next('order')).data, { id: 3 });
      assert.deepEqual(ears.waiting, []);
    });

    test('comes back by itself after a restart (194)', async (t) => {
      const { server, sdk, open } = await site(t);
      const ann = await open('ann');
      const ears = new Ears(await subscribe(ann, 'orders'));
      const old = ann.connection.socket_id;
      const again = new Promise((resolve) => {
        ann.channel('orders').bind('pusher:subscription_succeeded', resolve);
      });

      await server.stop();
      await server.start();
      await within(again, 'the subscription after the restart', 60_000);
      await sdk.trigger('orders', 'order', { id: 7 });

      assert.deepEqual((await ears.next('order')).data, { id: 7 });
      assert.notEqual(ann.connection.socket_id, old);
    });
  });
}

for (const transport of TRANSPORTS) {
  test(`a session over ${transport} stays on its node past a load balancer (196, 200)`, async (t) => {
    const begun = await startServer(t, {
      server: 'host = "127.0.0.2"',
      tables: '[http_fallback]\nhostname = "127.0.0.2"',
    });
    const node = { host: '127.0.0.2', port: begun.port };
    const other = await startServer(t);
    // pusher-js exchanges the host and keeps the port.
    const balancer = await startProxy(t, node, { next: other, host: '127.0.0.3', port: node.port });

    const pusher = await connect(t, node, everyWayTo(balancer, [transport]));
    const ears = new Ears(await subscribe(pusher, 'orders'));
    await serverSdk(node).trigger('orders', 'order', { id: 7 });

    assert.deepEqual((await ears.next('order')).data, { id: 7 });
    assert.equal(balancer.sent, 0);
  });
}

for (const version of Object.keys(PUSHER_JS).slice(1)) {
  for (const transport of TRANSPORTS) {
    test(`pusher-js ${version} hears channels over ${transport} (197)`, async (t) => {
      const server = await startServer(t);
      const pusher = await connect(t, server, { version, ...everyWayTo(server, [transport]) });
      const ears = new Ears(await subscribe(pusher, 'orders'));
      assert.equal(transportOf(pusher), transport);

      await serverSdk(server).trigger('orders', 'order', { id: 7 });

      assert.deepEqual((await ears.next('order')).data, { id: 7 });
    });
  }
}

test('streams live on heartbeats (186, 187)', async (t) => {
  const server = await startServer(t, {
    tables: '[http_fallback]\nheartbeat = 0.2\nanswer_wait = 2',
  });
  const proxy = await startProxy(t, server);
  const pusher = await connect(t, server, everyWayTo(proxy, ['xhr_streaming']));
  const socketId = pusher.connection.socket_id;
  const ears = new Ears(await subscribe(pusher, 'orders'));

  // More heartbeats than fit into the time that it has to answer: only its
  // answers keep it.
  await eventually(() => proxy.sent > 15, 'the answers to heartbeats');
  await serverSdk(server).trigger('orders', 'order', {});

  await ears.next('order');
  assert.equal(pusher.connection.socket_id, socketId);
});

describe('pages behind a proxy that kills WebSockets', () => {
  async function openPage(t, proxy, files, options) {
    const server = { host: proxy.host, port: proxy.port };
    const backEnd = await startBackEnd(t, serverSdk(server), { files: { ...FILES, ...files } });
    const browser = await startBrowser(t);
    const page = await (await browser.newContext()).newPage();
    await page.goto(backEnd);
    await page.addScriptTag({ url: `${backEnd}/pusher-8.6.0.js` });
    return page;
  }

  function start(page, proxy, more) {
    return page.evaluate(
      ({ key, host, port, more }) => {
        window.heard = [];
        window.pusher = new Pusher(key, {
          cluster: '',
          wsHost: host,
          wsPort: port,
          httpHost: host,
          httpPort: port,
          forceTLS: false,
          ...more,
        });
        const channel = window.pusher.subscribe('orders');
        channel.bind('order', (data) => window.heard.push(data.number));
        return new Promise((resolve, reject) => {
          channel.bind('pusher:subscription_succeeded', () =>
            resolve(window.pusher.connection.connection.transport.name),
          );
          setTimeout(() => reject(new Error(`still ${window.pusher.connection.state}`)), 40_000);
        });
      },
      { key: APP.key, host: proxy.host, port: proxy.port, more },
    );
  }

  async function hears(page, count) {
    const all = await page.waitForFunction((count) => window.heard.length >= count && window.heard, count, {
      timeout: 40_000,
    });
    return all.jsonValue();
  }

  test('connect by HTTP with default options (198, 199)', async (t) => {
    const server = await startServer(t);
    const proxy = await startProxy(t, server);
    const page = await openPage(t, proxy);

    const transport = await start(page, proxy, {});

    assert.match(transport, /^xhr_/);
    assert.ok(proxy.killed > 0, 'WebSockets were tried first');
    await serverSdk(server).trigger('orders', 'order', { number: 7 });
    assert.deepEqual(await hears(page, 1), [7]);
  });

  for (const transport of TRANSPORTS) {
    test(`lose none of 300 messages of 5 kB over ${transport} (188, 198)`, async (t) => {
      const server = await startServer(t);
      const proxy = await startProxy(t, server);
      const page = await openPage(t, proxy);
      await start(page, proxy, { enabledTransports: [transport] });
      const sdk = serverSdk(server);

      for (let number = 0; number < 300; number += 1) {
        await sdk.trigger('orders', 'order', { number, padding: 'x'.repeat(5_000) });
      }

      const expected = Array.from({ length: 300 }, (_, number) => number);
      assert.deepEqual(await hears(page, 300), expected);
    });
  }

  // pusher-js takes the SockJS that the page has; the transports are those that
  // its own copy knows, as far as this one still has them.
  for (const kind of ['eventsource', 'xhr-streaming', 'xhr-polling', 'iframe-eventsource']) {
    test(`connect by sockjs with ${kind}`, async (t) => {
      const server = await startServer(t, {
        tables: '[http_fallback]\nsockjs_scripts = ["https://static.example/sockjs.js"]',
      });
      const proxy = await startProxy(t, server);
      const script = () => readFile(new URL('./node_modules/sockjs-client/dist/sockjs.js', import.meta.url));
      const page = await openPage(t, proxy, { '/sockjs.js': { type: 'text/javascript', body: script } });
      // The frame loads SockJS from an address that the server has allowed.
      await page.route('https://static.example/sockjs.js', async (route) =>
        route.fulfill({ contentType: 'text/javascript', body: await script() }),
      );
      await page.addScriptTag({ url: `${new URL(page.url()).origin}/sockjs.js` });
      await page.evaluate((kind) => {
        const SockJS = window.SockJS;
        window.SockJS = function (url) {
          return new SockJS(url, null, { transports: [kind] });
        };
      }, kind);

      const transport = await start(page, proxy, { enabledTransports: ['sockjs'] });

      assert.equal(transport, 'sockjs');
      await serverSdk(server).trigger('orders', 'order', { number: 7 });
      assert.deepEqual(await hears(page, 1), [7]);
    });
  }

  test('report statistics without an error (208)', async (t) => {
    const server = await startServer(t);
    const page = await openPage(t, server);
    const reports = [];
    page.on('response', (response) => {
      if (response.url().includes('/timeline/')) {
        reports.push(response);
      }
    });
    const reported = page.waitForResponse((response) => response.url().includes('/timeline/v2/jsonp/'));

    await start(page, server, {
      enableStats: true,
      statsHost: `${server.host}:${server.port}`,
      enabledTransports: ['ws'],
    });

    const report = await within(reported, 'a report');
    assert.equal(report.status(), 200);
    assert.match(await report.text(), /^Pusher\.ScriptReceivers\[\d+\]\(null, \{\}\);/);
  });
});
