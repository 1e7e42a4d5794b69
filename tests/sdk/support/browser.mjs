// Headless Chromium with the pusher-js that pages load from a script tag.

import { readFile } from 'node:fs/promises';

import { chromium } from 'playwright-core';

import { atEnd } from './cleanup.mjs';
import { APP } from './server.mjs';
import { within } from './within.mjs';

const CHROMIUM = process.env.CHROMIUM ?? '/usr/bin/chromium';

// What pages load; 4.4.0 has one build for all purposes.
const BUILDS = {
  '8.6.0': 'pusher-js/dist/web/pusher.min.js',
  '8.6.0-with-encryption': 'pusher-js/dist/web/pusher-with-encryption.min.js',
  '4.4.0': 'pusher-js-4/dist/web/pusher.min.js',
};

/** What the back end of a page with pusher-js serves. */
export const FILES = {
  '/': { type: 'text/html', body: () => '<!doctype html><title>test</title>' },
  ...Object.fromEntries(
    Object.entries(BUILDS).map(([version, path]) => [
      `/pusher-${version}.js`,
      {
        type: 'text/javascript',
        body: () => readFile(new URL(`../node_modules/${path}`, import.meta.url)),
      },
    ]),
  ),
};

/**
 * Starts the browser; each page has a profile of its own. `args` are further
 * flags, `env` is what differs in its environment.
 */
export async function startBrowser(t, { args = [], env = {} } = {}) {
  const browser = await chromium.launch({
    executablePath: CHROMIUM,
    // Chromium's sandbox does not work for root.
    args: [...args, ...(process.getuid() === 0 ? ['--no-sandbox'] : [])],
    env: { ...process.env, ...env },
  });
  atEnd(t, () => browser.close());
  return browser;
}

/**
 * Opens a page of `backEnd` with pusher-js `version`, connected as `user`.
 *
 * The page keeps all that its channels hear in `window.heard`.
 */
export async function openPage(browser, { backEnd, server, user, version }) {
  const context = await browser.newContext();
  const page = await context.newPage();
  await page.goto(backEnd);
  await page.addScriptTag({ url: `${backEnd}/pusher-${version}.js` });
  await page.evaluate(
    ({ key, host, port, user }) => {
      window.heard = [];
      window.pusher = new Pusher(key, {
        cluster: '',
        wsHost: host,
        wsPort: port,
        forceTLS: false,
        enabledTransports: ['ws'],
        disableStats: true,
        authEndpoint: '/pusher/auth',
        auth: { params: { user } },
      });
    },
    { key: APP.key, host: server.host, port: server.port, user },
  );
  return new PusherPage(page);
}

class PusherPage {
  constructor(page) {
    this.page = page;
  }

  async state(wanted) {
    await this.#until((state) => window.pusher.connection.state === state, wanted, `the state ${wanted}`);
  }

  async subscribe(channel) {
    await this.page.evaluate((name) => {
      const channel = window.pusher.subscribe(name);
      channel.bind_global((event, data) => window.heard.push({ event, data }));
    }, channel);
    await this.#until((name) => window.pusher.channel(name)?.subscribed, channel, `the subscription to ${channel}`);
  }

  async trigger(channel, event, data) {
    await this.page.evaluate(
      ({ channel, event, data }) => window.pusher.channel(channel).trigger(event, data),
      { channel, event, data },
    );
  }

  /** Waits for the first event of that name; returns its data. */
  async hears(event) {
    const handle = await this.#until((name) => window.heard.find(({ event }) => event === name), event, event);
    return (await handle.jsonValue()).data;
  }

  async socketId() {
    return this.page.evaluate(() => window.pusher.connection.socket_id);
  }

  /** Waits for a connection that is not `socketId`'s. */
  async reconnected(socketId) {
    const isOther = (old) => window.pusher.connection.state === 'connected' && window.pusher.connection.socket_id !== old;
    await this.#until(isOther, socketId, 'another connection');
  }

  async members(channel) {
    return this.page.evaluate((name) => Object.keys(window.pusher.channel(name).members.members).sort(), channel);
  }

  async hasHeard(event) {
    return this.page.evaluate((name) => window.heard.some(({ event }) => event === name), event);
  }

  async #until(condition, argument, what) {
    // pusher-js gives an attempt that fails 15 s before it starts another one.
    const patience = 40_000;
    const met = this.page.waitForFunction(condition, argument, { timeout: patience });
    return within(met, `${what} in the page`, patience);
  }
}
