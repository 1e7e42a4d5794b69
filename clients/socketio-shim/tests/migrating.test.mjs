// docs/migrating.md, "From Socket.IO", as it is written: its configuration, its page
// and its back end. Only the address is another.

import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import { test } from 'node:test';

import { atEnd } from '../../../tests/sdk/support/cleanup.mjs';
import { startServer } from '../../../tests/sdk/support/server.mjs';
import { eventually, within } from '../../../tests/sdk/support/within.mjs';
import { io } from '../dist/index.js';
import { tokenOf } from './support/back_end.mjs';

const AsyncFunction = (async () => {}).constructor;

async function blocksOf(heading) {
  const text = await readFile(new URL('../../../docs/migrating.md', import.meta.url), 'utf8');
  const section = text.split(/^## /m).find((each) => each.startsWith(heading));
  const blocks = [...section.matchAll(/^```(\w+)\n(.*?)^```$/gms)];
  return blocks.map(([, language, code]) => ({ language, code }));
}

test('the page, the configuration and the back end of the document work together', async (t) => {
  const [page, configuration, backEnd] = await blocksOf('From Socket.IO');
  assert.deepEqual([page.language, configuration.language, backEnd.language], ['js', 'toml', 'js']);
  const server = await startServer(t, { tables: configuration.code });
  const at = (code) => code.replaceAll('http://localhost:6001', server.url);
  const [, secret] = configuration.code.match(/jwt_secret = "(.*)"/);
  const token = tokenOf({ sub: '7', role: 'operator', exp: Math.floor(Date.now() / 1_000) + 600 }, secret);
  const orders = [];
  let show;
  const shown = new Promise((resolve) => {
    show = (order) => resolve(orders.push(order));
  });

  const [importLine, ...lines] = at(page.code).split('\n');
  assert.match(importLine, /^import \{ io \} from 'fanfare-socketio-shim';/);
  const run = new AsyncFunction('io', 'token', 'show', `${lines.join('\n')}\nreturn socket;`);
  const socket = await run(io, token, show);
  atEnd(t, () => socket.disconnect());
  await eventually(
    () => ['operators', 'city:Саратов'].every((room) => socket.rooms.includes(room)),
    'the rooms of the document',
  );
  await new AsyncFunction(at(backEnd.code))();

  await within(shown, 'the order');
  await socket.emitWithAck('ping');
  assert.deepEqual(orders, [{ id: 7, clientName: 'Irina', city: 'Саратов' }]);
});
