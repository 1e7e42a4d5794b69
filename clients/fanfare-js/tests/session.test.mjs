// The helper with real pusher-js on a real Fanfare.

import assert from 'node:assert/strict';
import { test } from 'node:test';

import { startBadNetwork } from '../../../tests/sdk/support/bad_network.mjs';
import { connect, reaches, serverSdk } from '../../../tests/sdk/support/clients.mjs';
import { everyWayTo, startProxy } from '../../../tests/sdk/support/proxy.mjs';
import { startServer } from '../../../tests/sdk/support/server.mjs';
import { eventually } from '../../../tests/sdk/support/within.mjs';
import { followSession, sessionName, sessionOptions } from '../src/index.js';

const HISTORY = { app: 'history = [{ channels = "*", events = 10000 }]' };

/** A page that follows its session and hears a channel. */
async function open(t, at, more) {
  const page = { numbers: [], gaps: [], replays: [] };
  page.pusher = await connect(t, at, more);
  page.session = followSession(page.pusher, {
    onGap: (gap) => page.gaps.push(gap),
    onReplay: (replay) => page.replays.push(replay),
  });
  const channel = page.pusher.subscribe('kitchen');
  channel.bind('order', ({ n }) => page.numbers.push(n));
  await eventually(() => channel.subscribed, 'the subscription');
  return page;
}

/** Keeps a page from saying that it has handled anything. */
function saysNothing({ pusher }) {
  const { transport } = pusher.connection.connection;
  const send = transport.send;
  transport.send = (text) => text.includes('pusher:pong') || send.call(transport, text);
}

async function publish(sdk, from, to) {
  for (let n = from; n < to; n += 1) {
    await sdk.trigger('kitchen', 'order', { n });
  }
}

const upTo = (count) => Array.from({ length: count }, (_, n) => n);

for (const [what, version, ways] of [
  ['pusher-js 8', '8.6.0', {}],
  ['pusher-js 7', '7.6.0', {}],
  ['xhr_streaming', '8.6.0', { transports: ['xhr_streaming'] }],
]) {
  test(`${what}: what the page has handled does not come again`, async (t) => {
    const server = await startServer(t, HISTORY);
    const sdk = serverSdk(server);
    const proxy = ways.transports && (await startProxy(t, server));
    const page = await open(t, server, {
      version,
      ...sessionOptions('a-page'),
      ...(proxy && everyWayTo(proxy, ways.transports)),
    });
    saysNothing(page);
    await publish(sdk, 0, 3);
    await eventually(() => page.numbers.length === 3, 'the first events');

    page.pusher.disconnect();
    await publish(sdk, 3, 5);
    page.pusher.connect();
    await reaches(page.pusher, 'connected');
    await eventually(() => page.replays.length > 0, 'the replay');
    await publish(sdk, 5, 6);
    await eventually(() => page.numbers.includes(5), 'a live event');

    assert.deepEqual(page.numbers, upTo(6));
    assert.equal(page.session.duplicates, 3);
    assert.deepEqual(page.replays, [{ channel: 'kitchen', events: 5 }]);
    assert.deepEqual(page.gaps, [{ channel: 'kitchen', reason: 'new' }]);
  });
}

test('on a network that fails all the time each event comes once', async (t) => {
  const EVENTS = 120;
  const server = await startServer(t, HISTORY);
  const network = await startBadNetwork(t, server, 3);
  const page = await open(t, network, {
    ...sessionOptions('a-page'),
    activityTimeout: 1_000,
    pongTimeout: 500,
  });
  const sdk = serverSdk(server);
  for (let n = 0; n < EVENTS; n += 1) {
    await sdk.trigger('kitchen', 'order', { n });
    await new Promise((resolve) => setTimeout(resolve, 40));
  }
  network.calm();

  await eventually(() => page.numbers.at(-1) === EVENTS - 1, 'the last event', 60_000);

  assert.deepEqual(page.numbers, upTo(EVENTS));
  assert.ok(network.faults.cut + network.faults.swallowed > 0);
  // The network may have swallowed the first word about the session.
  assert.ok(page.gaps.length <= 1 && page.gaps.every(({ reason }) => reason === 'new'));
});

test('a gap is told with its reason', async (t) => {
  const server = await startServer(t, { app: 'history = [{ channels = "*", events = 2 }]' });
  const sdk = serverSdk(server);
  const page = await open(t, server, sessionOptions('a-page'));
  page.pusher.disconnect();
  await publish(sdk, 0, 5);

  page.pusher.connect();

  await eventually(() => page.numbers.length === 2, 'what is left');
  assert.deepEqual(page.numbers, [3, 4]);
  assert.deepEqual(
    page.gaps.map(({ reason }) => reason),
    ['new', 'history'],
  );
});

test('a device keeps the name of its session', () => {
  const kept = new Map();
  const storage = { getItem: (key) => kept.get(key) ?? null, setItem: (key, value) => kept.set(key, value) };

  const name = sessionName(storage);

  assert.match(name, /^[0-9a-f]{32}$/);
  assert.equal(sessionName(storage), name);
  storage.setItem('fanfare-session', 'not a name');
  assert.notEqual(sessionName(storage), 'not a name');
  assert.throws(() => sessionOptions('not a name'), TypeError);
});
