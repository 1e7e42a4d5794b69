// Runs the lifecycles in a real Strapi 5 with SQLite and looks at the events that
// come out of Fanfare. Not among the tests: the installation takes minutes and most
// of a gigabyte. `check` calls it.

import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { cpSync, mkdirSync, readFileSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import path from 'node:path';
import { fileURLToPath } from 'node:url';

import { startFanfare, stop, stopAtSignals, within } from '../../support/processes.mjs';
import { SCHEMAS } from './schemas.mjs';

const Pusher = createRequire(import.meta.url)('pusher-js');

const HERE = fileURLToPath(new URL('.', import.meta.url));
const BACK_END = fileURLToPath(new URL('../back_end/src/', import.meta.url));
const PROJECT = process.env.STRAPI_PROJECT;

const CREDENTIALS = { PUSHER_APP_ID: 'app-id', PUSHER_KEY: 'app-key', PUSHER_SECRET: 'app-secret' };

// Channel, event, and the facts that Strapi does not choose itself.
const EXPECTED = [
  ['tables', 'table.status_changed', { tableNumber: 5, previousStatus: 'free', newStatus: 'occupied' }],
  ['orders', 'order.created', { orderNumber: 101, tableNumber: 5, status: 'new', totalAmount: 21, itemCount: 1 }],
  ['kitchen', 'ticket.created', { ticketNumber: '101-1', station: 'grill', orderNumber: 101, tableNumber: 5, menuItemName: 'Salmon fillet' }],
  ['station-grill', 'ticket.created', { ticketNumber: '101-1', tableNumber: 5 }],
  ['kitchen', 'ticket.status_changed', { ticketNumber: '101-1', previousStatus: 'new', newStatus: 'cooking', tableNumber: 5 }],
  ['orders', 'item.status_changed', { orderNumber: 101, previousStatus: 'new', newStatus: 'cooking' }],
  ['table-5', 'order.updated', { orderNumber: 101, status: 'preparing', previousStatus: 'new' }],
  ['kitchen', 'order.cancelled', { orderNumber: 101, status: 'cancelled', reason: 'burnt' }],
  ['alerts', 'storage.low_stock', { ingredientName: 'Salmon', currentStock: 1, minStock: 1.5, unit: 'kg', severity: 'warning' }],
  ['inventory', 'storage.batch_received', { ingredientName: 'Salmon', quantity: 5, unit: 'kg', supplierName: 'Fresh & Co' }],
];

stopAtSignals('strapi check');
try {
  await check();
  await stop(0);
} catch (error) {
  console.error(`strapi check: ${error.message}`);
  await stop(1);
}

async function check() {
  writeProject();
  run('npx', ['tsc', '--outDir', path.join(PROJECT, 'dist'), '--rootDir', PROJECT, ...compilerOptions(), ...sources()], HERE);
  copySchemas();

  const port = await startFanfare({ port: 0, metricsPort: 0 });
  const heard = [];
  const pusher = new Pusher('app-key', { cluster: '', wsHost: '127.0.0.1', wsPort: port, forceTLS: false, enabledTransports: ['ws'] });
  const channels = [...new Set(EXPECTED.map(([channel]) => channel))];
  const subscribed = channels.map((name) => {
    const channel = pusher.subscribe(name);
    channel.bind_global((event, data) => heard.push([name, event, data]));
    return new Promise((resolve) => channel.bind('pusher:subscription_succeeded', resolve));
  });
  await within(Promise.all(subscribed), 'the subscriptions');

  run(process.execPath, [path.join(HERE, 'play.cjs')], PROJECT, {
    ...CREDENTIALS,
    PUSHER_HOST: '127.0.0.1',
    PUSHER_PORT: String(port),
    NODE_PATH: path.join(PROJECT, 'node_modules'),
  });
  await within(answerToPing(pusher), 'the answer to a ping');

  for (const [channel, event, facts] of EXPECTED) {
    const found = heard.find(([on, what]) => on === channel && what === event);
    assert.ok(found, `${event} on ${channel} did not come`);
    const values = Object.fromEntries(Object.keys(facts).map((name) => [name, found[2][name]]));
    assert.deepEqual(values, facts, `${event} on ${channel}`);
    console.log(`${channel} heard ${event}`);
  }
  pusher.disconnect();
}

/** Comes after everything that the server has sent before. */
function answerToPing(pusher) {
  return new Promise((resolve) => {
    pusher.connection.bind('message', ({ event }) => {
      if (event === 'pusher:pong') {
        resolve();
      }
    });
    pusher.send_event('pusher:ping', {});
  });
}

/** The restaurant's files in the places and under the names that Strapi knows. */
function writeProject() {
  rmSync(path.join(PROJECT, 'dist'), { recursive: true, force: true });
  rmSync(path.join(PROJECT, 'src'), { recursive: true, force: true });
  cpSync(path.join(HERE, 'project'), PROJECT, { recursive: true });
  mkdirSync(path.join(PROJECT, 'public/uploads'), { recursive: true });
  for (const file of readdirSync(BACK_END, { recursive: true })) {
    if (file.endsWith('.mjs')) {
      const target = path.join(PROJECT, 'src', file.replace(/mjs$/, 'ts'));
      mkdirSync(path.dirname(target), { recursive: true });
      writeFileSync(target, readFileSync(path.join(BACK_END, file), 'utf8').replaceAll(".mjs'", "'"));
    }
  }
  for (const type of Object.keys(SCHEMAS)) {
    for (const [folder, factory] of [['controllers', 'createCoreController'], ['services', 'createCoreService'], ['routes', 'createCoreRouter']]) {
      const target = path.join(PROJECT, 'src/api', type, folder, `${type}.ts`);
      mkdirSync(path.dirname(target), { recursive: true });
      const uid = `api::${type}.${type}`;
      writeFileSync(target, `import { factories } from '@strapi/strapi';\n\nexport default factories.${factory}('${uid}' as any);\n`);
    }
  }
}

function copySchemas() {
  for (const [type, schema] of Object.entries(SCHEMAS)) {
    writeFileSync(path.join(PROJECT, 'dist/src/api', type, 'content-types', type, 'schema.json'), JSON.stringify(schema));
  }
}

// Those of a new Strapi project, and no look at types: the sources have none.
function compilerOptions() {
  return ['--module', 'commonjs', '--target', 'es2019', '--esModuleInterop', '--moduleResolution', 'bundler', '--noCheck', '--ignoreConfig'];
}

function sources() {
  return ['src', 'config'].flatMap((folder) =>
    readdirSync(path.join(PROJECT, folder), { recursive: true })
      .filter((file) => file.endsWith('.ts'))
      .map((file) => path.join(PROJECT, folder, file)),
  );
}

function run(program, arguments_, directory, environment = {}) {
  const { status, stdout, stderr } = spawnSync(program, arguments_, {
    cwd: directory,
    env: { PATH: process.env.PATH, HOME: process.env.HOME, ...environment },
    encoding: 'utf8',
  });
  if (status !== 0) {
    throw new Error(`${program} ended with ${status}:\n${stdout}${stderr}`);
  }
}
