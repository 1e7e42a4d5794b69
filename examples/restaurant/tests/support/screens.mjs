// Screens of the restaurant in headless Chromium.

import { chromium } from 'playwright-core';

import { atEnd } from '../../../../tests/sdk/support/cleanup.mjs';
import { eventually } from '../../../../tests/sdk/support/within.mjs';

const CHROMIUM = process.env.CHROMIUM ?? '/usr/bin/chromium';

// pusher-js and the page's own patience leave at most this time between attempts.
const PATIENCE_MS = 45_000;

export async function startBrowser(t, ...more) {
  const browser = await chromium.launch({
    executablePath: CHROMIUM,
    // Chromium's sandbox does not work for root.
    args: [...(process.getuid() === 0 ? ['--no-sandbox'] : []), ...more],
  });
  atEnd(t, () => browser.close());
  return browser;
}

/** Opens `path`, on a device of its own, and waits until it is live. */
export async function openScreen(browser, url, path, { wifi, station, ...device } = {}) {
  const context = await browser.newContext({
    viewport: { width: 1280, height: 800 },
    ...(wifi && { proxy: { server: wifi.address } }),
    ...device,
  });
  if (station) {
    await context.addInitScript((chosen) => localStorage.setItem('station', chosen), station);
  }
  const page = await context.newPage();
  page.setDefaultTimeout(PATIENCE_MS);
  const screen = new Screen(page);
  page.on('pageerror', (error) => screen.errors.push(error.message));
  await page.goto(url + path);
  await screen.isLive();
  return screen;
}

export class Screen {
  /** What went wrong in the page's own code. */
  errors = [];

  constructor(page) {
    this.page = page;
  }

  async isLive() {
    await this.page.waitForSelector('.link-state[data-state="live"]');
  }

  async isOffline() {
    await this.page.waitForSelector('.outage');
    return this.page.innerText('.outage');
  }

  /** The kitchen as it is seen: station to lines, without the ticking times. */
  async columns() {
    return this.page.$$eval('.column', (columns) =>
      Object.fromEntries(
        columns
          .map((column) => [
            column.dataset.station,
            [...column.querySelectorAll('.ticket')].map((ticket) => {
              const text = (selector) => ticket.querySelector(selector)?.textContent.trim();
              const words = [text('.place'), text('.dish'), text('.note'), ticket.dataset.status];
              return words.filter(Boolean).join(' | ').replace(/\s+/g, ' ');
            }),
          ])
          .filter(([, tickets]) => tickets.length > 0),
      ),
    );
  }

  /** Waits until the kitchen looks like this. */
  async shows(expected) {
    let seen;
    const wanted = JSON.stringify(expected);
    await eventually(
      async () => {
        seen = await this.columns();
        return JSON.stringify(seen) === wanted;
      },
      () => `${wanted}; seen: ${JSON.stringify(seen)}`,
      PATIENCE_MS,
    );
  }

  /** Ids of all tickets on the screen, as often as they are there. */
  async ticketIds() {
    return this.page.$$eval('.ticket', (tickets) => tickets.map(({ dataset }) => dataset.ticket).sort());
  }

  async bump(dish, status) {
    await this.page.click(`.ticket[data-status="${status}"]:has-text("${dish}")`);
  }
}
