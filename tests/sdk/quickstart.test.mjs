// The order board of examples/quickstart, as two visitors see it.

import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { createInterface } from 'node:readline';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';

import { startBrowser } from './support/browser.mjs';
import { atEnd } from './support/cleanup.mjs';
import { startServer } from './support/server.mjs';
import { within } from './support/within.mjs';

const BACK_END = fileURLToPath(new URL('../../examples/quickstart/back_end.mjs', import.meta.url));

async function startBoard(t, server) {
  const backEnd = spawn(process.execPath, [BACK_END], {
    env: { PATH: process.env.PATH, PORT: '0', FANFARE_PORT: String(server.port) },
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  atEnd(t, () => backEnd.kill());
  const lines = createInterface({ input: backEnd.stdout });
  const [line] = await within(once(lines, 'line'), 'the board to say where it is');
  return line.match(/http:\S+/)[0];
}

test('orders, people and typing appear in both tabs', async (t) => {
  const server = await startServer(t, { id: 'app-id' });
  const board = await startBoard(t, server);
  const browser = await startBrowser(t);
  const open = async () => {
    const page = await (await browser.newContext()).newPage();
    page.setDefaultTimeout(20_000);
    await page.goto(board);
    await page.waitForSelector('#people .me');
    return page;
  };
  const till = await open();
  const kitchen = await open();

  await till.waitForSelector('#people li:nth-child(2)');
  await till.fill('input[name=table]', '7');
  await kitchen.waitForSelector('#typing:not(:empty)');
  await till.fill('input[name=dish]', '<i>Soup</i>');
  await till.click('form button');
  for (const page of [till, kitchen]) {
    assert.equal(await page.textContent('#order-1 .dish'), '<i>Soup</i>');
  }
  await kitchen.click('#order-1 button');
  await till.waitForSelector('#order-1.served');
  const late = await open();
  await late.waitForSelector('#order-1.served');
});
