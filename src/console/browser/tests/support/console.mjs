// The console of a real server, in headless Chromium.

import assert from 'node:assert/strict';
import { mkdir, mkdtemp, readFile, rm } from 'node:fs/promises';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import path from 'node:path';

import { chromium } from 'playwright-core';

import { atEnd } from '../../../../../tests/sdk/support/cleanup.mjs';
import { APP, startServer } from '../../../../../tests/sdk/support/server.mjs';
import { eventually } from '../../../../../tests/sdk/support/within.mjs';

const CHROMIUM = process.env.CHROMIUM ?? '/usr/bin/chromium';
const PATIENCE_MS = 20_000;

/** Where pictures of the pages go, for people; nowhere unless it is set. */
const PICTURES = process.env.PICTURES;

export const SECRET = 'a secret of its own';
export const SECOND = { id: '3002', key: 'second-key', secret: 'another secret' };
export const ADMIN = { name: 'ann', password: 'correct horse' };
export const VIEWER = { name: 'bob', password: 'battery staple' };

const axe = createRequire(import.meta.url).resolve('axe-core/axe.min.js');

/** A server with two apps in the file, and a database for more. */
export async function startConsole(t, { secret = SECRET, app = '', limits = '', tables = '' } = {}) {
  const folder = await mkdtemp(path.join(tmpdir(), 'fanfare-console-'));
  atEnd(t, () => rm(folder, { recursive: true }));
  return startServer(t, {
    secret,
    app,
    limits,
    tables: `[store]
url = "sqlite://${folder}/fanfare.db"
[[apps]]
id = "${SECOND.id}"
key = "${SECOND.key}"
secret = "${SECOND.secret}"
${tables}`,
  });
}

/** The end of the link in the log, with which the first account is made. */
export function invitation(server) {
  return eventually(() => server.said.join('\n').match(/#\/begin\/([0-9a-f]+)/)?.[1], 'the link in the log');
}

export async function startBrowser(t) {
  const browser = await chromium.launch({
    executablePath: CHROMIUM,
    // Chromium's sandbox does not work for root.
    args: process.getuid() === 0 ? ['--no-sandbox'] : [],
  });
  atEnd(t, () => browser.close());
  return browser;
}

/** Somebody with a browser of their own, at the console of `server`. */
export async function open(browser, server, where = '', device = {}) {
  const context = await browser.newContext({ viewport: { width: 1280, height: 900 }, locale: 'en-GB', ...device });
  const page = await context.newPage();
  page.setDefaultTimeout(PATIENCE_MS);
  const person = new Person(page, `${server.url}/console/`);
  page.on('pageerror', (error) => person.errors.push(error.message));
  page.on('console', (message) => {
    // The browser reports answers of 4xx too, which the tests provoke.
    if (message.type() === 'error' && !message.text().includes('Failed to load resource')) {
      person.errors.push(message.text());
    }
  });
  await page.goto(person.url + where);
  return person;
}

export class Person {
  /** What went wrong in the page's own code, and what its policy has stopped. */
  errors = [];

  constructor(page, url) {
    this.page = page;
    this.url = url;
  }

  async signIn({ name, password }, heading = 'Overview') {
    await this.page.getByLabel('Name').fill(name);
    await this.page.getByLabel('Password').fill(password);
    await this.page.getByRole('button', { name: 'Sign in' }).click();
    await this.sees(heading);
  }

  /** Makes the first account, as the link in the log asks for. */
  async begin(server, { name, password }) {
    await this.page.goto(`${this.url}#/begin/${await invitation(server)}`);
    await this.page.getByLabel('Name').fill(name);
    await this.page.getByLabel('Password').fill(password);
    await this.page.getByRole('button', { name: 'Make the account' }).click();
    await this.sees('Overview');
  }

  /** Goes to a page and waits until it has what it shows. */
  async goes(where, heading) {
    await this.page.goto(`${this.url}#/${where}`);
    await this.sees(heading);
    await this.page.locator('.spinner').waitFor({ state: 'detached' });
  }

  async sees(heading) {
    await this.page.getByRole('heading', { level: 1, name: heading, exact: true }).waitFor();
  }

  /** A request that this page makes, with its cookie and what else it may know. */
  async asks(method, where, body, headers = {}) {
    return this.page.evaluate(
      async ({ method, where, body, headers }) => {
        const answer = await fetch(`../admin/v1${where}`, { method, headers, ...(body && { body: JSON.stringify(body) }) });
        return { status: answer.status, body: await answer.text() };
      },
      { method, where, body, headers },
    );
  }

  /** What somebody who cannot see the page, or not well, would stumble over. */
  async stumbles(options = {}) {
    // By the debugging protocol: the page's own policy allows no foreign script.
    await this.page.evaluate(await readFile(axe, 'utf8'));
    const { violations } = await this.page.evaluate((options) => globalThis.axe.run({ resultTypes: ['violations'], ...options }), options);
    return violations
      .filter(({ impact }) => impact === 'serious' || impact === 'critical')
      .map(({ id, nodes }) => `${id}: ${nodes.map(({ target, failureSummary }) => `${target}: ${failureSummary}`).join('; ')}`);
  }

  async isAsWideAsTheScreen() {
    return this.page.evaluate(() => document.documentElement.scrollWidth <= innerWidth);
  }

  async picture(name) {
    if (PICTURES) {
      await mkdir(PICTURES, { recursive: true });
      await this.page.screenshot({ path: path.join(PICTURES, `${name}.png`), fullPage: true });
    }
  }
}

/** Looks at a page in light and dark and on a phone. */
export async function looksAt(person, name) {
  const { page } = person;
  for (const [look, scheme, width] of [
    ['light', 'light', 1280],
    ['dark', 'dark', 1280],
    ['phone', 'light', 390],
  ]) {
    await page.emulateMedia({ colorScheme: scheme });
    await page.setViewportSize({ width, height: 900 });
    await person.picture(`${name}-${look}`);
    assert.ok(await person.isAsWideAsTheScreen(), `${name} is wider than the screen (${look})`);
    // A narrow page has the same content, a dark one the same but its colours.
    if (look !== 'phone') {
      const options = look === 'dark' ? { runOnly: ['color-contrast'] } : {};
      assert.deepEqual(await person.stumbles(options), [], `${name} (${look})`);
    }
  }
  await page.emulateMedia({ colorScheme: 'light' });
  await page.setViewportSize({ width: 1280, height: 900 });
}

export { APP };
