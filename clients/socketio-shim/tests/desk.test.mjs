// The desk of examples/call-centre, as an operator sees it in Chromium.

import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { createInterface } from 'node:readline';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';

import { atEnd } from '../../../tests/sdk/support/cleanup.mjs';
import { startServer } from '../../../tests/sdk/support/server.mjs';
import { within } from '../../../tests/sdk/support/within.mjs';
import { startBrowser } from './support/pages.mjs';

const BACK_END = fileURLToPath(new URL('../../../examples/call-centre/back_end.mjs', import.meta.url));
const SECRETS = { JWT_SECRET: 'the secret of the desk, long enough', WEBHOOK_TOKEN: 'desk-token' };

async function startDesk(t, server) {
  const backEnd = spawn(process.execPath, [BACK_END], {
    env: { PATH: process.env.PATH, PORT: '0', REALTIME_URL: server.url, ...SECRETS },
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  atEnd(t, () => backEnd.kill());
  const [line] = await within(once(createInterface({ input: backEnd.stdout }), 'line'), 'the desk to say where it is');
  return line.match(/http:\S+/)[0];
}

test('calls and orders arrive at two desks, are filtered by city, and an outage is told', async (t) => {
  const server = await startServer(t, {
    tables: `
[auth]
jwt_secret = "${SECRETS.JWT_SECRET}"
allowed_origins = ["*"]
[adapters.rooms]
enabled = true
webhook_token = "${SECRETS.WEBHOOK_TOKEN}"
`,
  });
  const desk = await startDesk(t, server);
  const browser = await startBrowser(t);
  const errors = [];
  const open = async () => {
    const page = await (await browser.newContext({ viewport: { width: 1200, height: 800 } })).newPage();
    page.setDefaultTimeout(30_000);
    page.on('pageerror', (error) => errors.push(error.message));
    await page.goto(desk);
    await page.waitForSelector('#state[data-state="online"]');
    return page;
  };
  const visible = (page, list) => page.$$eval(`${list} li:not([hidden]) .place`, (all) => all.map((each) => each.textContent));
  const [ann, bob] = [await open(), await open()];

  // With the keyboard alone: to the cities, two further, and to the button.
  await ann.focus('#cities input');
  await ann.keyboard.press('ArrowRight');
  await ann.keyboard.press('ArrowRight');
  await ann.keyboard.press('Tab');
  await ann.keyboard.press('Enter');
  for (const page of [ann, bob]) {
    await page.waitForSelector('#orders li');
    await page.waitForSelector('#calls li[data-status="ringing"]');
    assert.deepEqual([await visible(page, '#calls'), await visible(page, '#orders')], [['Энгельс'], ['Энгельс']]);
  }
  await bob.click('label:has-text("Пенза")');
  await bob.waitForSelector('.none >> nth=0');
  assert.deepEqual(await visible(bob, '#calls'), []);
  await bob.click('label:has-text("All cities")');
  assert.deepEqual(await visible(bob, '#calls'), ['Энгельс']);
  assert.equal(await bob.title(), '(1) Call centre');

  const late = await open();
  await late.waitForSelector('#calls li');

  await server.stop();
  await ann.waitForSelector('#state[data-state="offline"]');
  assert.match(await ann.innerText('#state [role=status]'), /^Offline since \d\d:\d\d:\d\d/);
  assert.deepEqual(errors, []);
});
