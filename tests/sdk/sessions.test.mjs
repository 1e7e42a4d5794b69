// Durable sessions with unchanged clients, on a network that fails all the time.
//
// FANFARE_SESSION_EVENTS and FANFARE_SESSION_SECONDS make it longer;
// FANFARE_SESSION_SEED repeats a run.

import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { setTimeout as pause } from 'node:timers/promises';

import { asUser, startBackEnd } from './support/back_end.mjs';
import { startBadNetwork } from './support/bad_network.mjs';
import { FILES, startBrowser } from './support/browser.mjs';
import { client, serverSdk } from './support/clients.mjs';
import { APP, startServer } from './support/server.mjs';
import { eventually } from './support/within.mjs';

const EVENTS = Number(process.env.FANFARE_SESSION_EVENTS ?? 500);
const SECONDS = Number(process.env.FANFARE_SESSION_SECONDS ?? 10);
const SEED = Number(process.env.FANFARE_SESSION_SEED ?? 7);

const CHANNELS = ['private-kitchen', 'private-cache-kitchen', 'presence-kitchen'];
const HISTORY = 'history = [{ channels = "*kitchen", events = 20000, bytes = 16777216 }]';

// Pages notice a network that swallows everything after this.
const IMPATIENT = { activityTimeout: 1_000, pongTimeout: 500 };
const COMES_BACK_MS = 60_000;

/** Publishes on a bad network; returns what each page heard of each channel. */
async function run(t, { app }) {
  const server = await startServer(t, { app });
  const sdk = serverSdk(server);
  const network = await startBadNetwork(t, server, SEED);
  const backEnd = await startBackEnd(t, sdk, { files: FILES });
  const pages = [
    nodePage(t, network, backEnd, 'ann'),
    nodePage(t, network, backEnd, 'bob'),
    await browserPage(t, network, backEnd, 'cook'),
  ];
  for (const page of pages) {
    await page.isReady();
  }

  const began = Date.now();
  let number = 0;
  while (number < EVENTS) {
    // Ten in one request, as many requests as it takes to keep the pace.
    const batch = Array.from({ length: Math.min(10, EVENTS - number) }, () => number++);
    for (const channel of CHANNELS) {
      await sdk.triggerBatch(batch.map((n) => ({ channel, name: 'order', data: { n } })));
    }
    const due = began + (number / EVENTS) * SECONDS * 1_000;
    await pause(Math.max(0, due - Date.now()));
  }
  network.calm();
  for (const page of pages) {
    await page.isReady();
  }
  // What comes now comes after everything that was missed. A connection that seems
  // to be up may be lost already, and the end with it, unless that is made up for.
  await sdk.trigger(CHANNELS, 'end', {});
  const heard = [];
  for (const page of pages) {
    const hasEnded = async () => {
      if (app === '') {
        await sdk.trigger(CHANNELS, 'end', {});
      }
      return page.heardToTheEnd();
    };
    heard.push(await eventually(hasEnded, `the end on the page of ${page.user}`, COMES_BACK_MS));
  }
  t.diagnostic(`seed ${SEED}: ${JSON.stringify(network.faults)}`);
  return { heard, network };
}

function nodePage(t, network, backEnd, user) {
  const pusher = client(t, network, { wsPath: `/s/page-of-${user}`, ...IMPATIENT, ...asUser(backEnd, user) });
  const heard = listen(pusher, CHANNELS);
  return {
    user,
    isReady: () =>
      eventually(
        () => pusher.connection.state === 'connected' && CHANNELS.every((name) => pusher.channel(name).subscribed),
        `the page of ${user}`,
        COMES_BACK_MS,
      ),
    heardToTheEnd: () => Object.values(heard).every(({ isOver }) => isOver) && heard,
  };
}

// Runs in Node and in the page.
function listen(pusher, channels) {
  const heard = {};
  for (const name of channels) {
    const one = { numbers: [], gaps: [], isOver: false };
    heard[name] = one;
    const channel = pusher.subscribe(name);
    channel.bind('order', ({ n }) => one.numbers.push(n));
    channel.bind('fanfare:gap', ({ reason }) => one.gaps.push(reason));
    channel.bind('end', () => {
      one.isOver = true;
    });
  }
  return heard;
}

async function browserPage(t, network, backEnd, user) {
  const browser = await startBrowser(t);
  const page = await browser.newPage();
  await page.goto(backEnd);
  await page.addScriptTag({ url: `${backEnd}/pusher-8.6.0.js` });
  await page.evaluate(
    ({ key, host, port, options, listening, channels }) => {
      window.pusher = new window.Pusher(key, {
        cluster: '',
        wsHost: host,
        wsPort: port,
        forceTLS: false,
        enabledTransports: ['ws'],
        ...options,
      });
      window.heard = new Function(`return ${listening}`)()(window.pusher, channels);
    },
    {
      key: APP.key,
      host: network.host,
      port: network.port,
      options: { wsPath: `/s/page-of-${user}`, ...IMPATIENT, ...asUser('', user) },
      listening: listen.toString(),
      channels: CHANNELS,
    },
  );
  return {
    user,
    isReady: () =>
      page.waitForFunction(
        (channels) =>
          window.pusher.connection.state === 'connected' &&
          channels.every((name) => window.pusher.channel(name).subscribed),
        CHANNELS,
        { timeout: COMES_BACK_MS },
      ),
    heardToTheEnd: () =>
      page.evaluate(() => Object.values(window.heard).every(({ isOver }) => isOver) && window.heard),
  };
}

/** Each number once, at its first place. */
function withoutDuplicates(numbers) {
  return [...new Set(numbers)];
}

describe('on a network that fails all the time', { concurrency: true }, () => {
  test('pages with a session handle every event, in order', async (t) => {
    const { heard, network } = await run(t, { app: HISTORY });

    const all = Array.from({ length: EVENTS }, (_, n) => n);
    let duplicates = 0;
    for (const page of heard) {
      for (const channel of CHANNELS) {
        const { numbers, gaps } = page[channel];
        assert.deepEqual(withoutDuplicates(numbers), all);
        assert.deepEqual(gaps, ['new']);
        duplicates += numbers.length - EVENTS;
      }
    }
    assert.ok(network.faults.cut > 0 && network.faults.swallowed > 0);
    t.diagnostic(`${duplicates} duplicates among ${EVENTS * heard.length * CHANNELS.length} events`);
  });

  test('without a history the same pages lose some', async (t) => {
    const { heard } = await run(t, { app: '' });

    const missed = heard.map((page) =>
      CHANNELS.map((channel) => EVENTS - withoutDuplicates(page[channel].numbers).length),
    );
    t.diagnostic(`missed: ${JSON.stringify(missed)}`);
    for (const page of missed) {
      assert.ok(page.some((count) => count > 0));
    }
  });
});
