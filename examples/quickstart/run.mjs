// Starts the server, the back end and a subscriber in this terminal, sends some
// sample orders, and stops everything at Ctrl-C. `--once` checks that the orders
// arrived and ends; `start` calls it.

import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { createInterface } from 'node:readline';

import Pusher from 'pusher-js';

const PATIENCE_MS = 30_000;
const PAUSE_BETWEEN_ORDERS_MS = 1_000;

const SAMPLE_ORDERS = [
  { table: '4', dish: 'Tomato soup, no cream' },
  { table: '12', dish: '2 × Wiener Schnitzel' },
  { table: '7a', dish: 'Crème brûlée' },
];

const isCheck = process.argv.includes('--once');
const children = [];

process.once('SIGINT', () => stop(0));
process.once('SIGTERM', () => stop(0));
process.once('SIGHUP', () => stop(0));

try {
  await (isCheck ? check() : demonstrate());
} catch (error) {
  console.error(`quickstart: ${error.message}`);
  await stop(1);
}

async function demonstrate() {
  const { PORT, FANFARE_PORT, METRICS_PORT } = process.env;
  const server = await startServer(FANFARE_PORT ?? 6001, METRICS_PORT ?? 9601);
  const board = await startBackEnd(server, PORT ?? 3000);
  const terminal = await startTerminal(server);
  terminal.eachLine((line) => console.log(`  terminal | ${line}`));
  console.log(`\n  Open ${board} in two tabs. Ctrl-C stops everything.\n`);
  for (const order of SAMPLE_ORDERS) {
    await send(board, order);
    await new Promise((resolve) => setTimeout(resolve, PAUSE_BETWEEN_ORDERS_MS));
  }
}

async function check() {
  const server = await startServer(0, 0);
  const board = await startBackEnd(server, 0);
  for (const path of ['/', '/board.js', '/board.css', '/pusher.min.js']) {
    await send(board, null, path);
  }
  const terminal = await startTerminal(server);
  const inTerminal = collect((each) => terminal.eachLine((line) => line.includes(' orders order.created ') && each(line)));
  const page = await subscribe(server, board);
  const onPage = collect((each) => page.orders.bind('order.created', each));
  for (const order of SAMPLE_ORDERS) {
    await send(board, order);
  }

  for (const { id, table, dish } of await within(onPage, 'the sample orders in pusher-js')) {
    console.log(`pusher-js got order ${id}: ${dish} (table ${table})`);
  }
  for (const line of await within(inTerminal, 'the sample orders in fanfare subscribe')) {
    console.log(`fanfare subscribe got ${line}`);
  }
  console.log(`on the board: ${page.people().join(', ')}`);
  page.close();
  await stop(0);
}

async function startServer(port, metricsPort) {
  const arguments_ = ['serve', '--port', port, '--metrics-port', metricsPort];
  const environment = { FANFARE_LOG_FORMAT: 'text', FANFARE_SERVER_SHUTDOWN_GRACE: '1' };
  const server = start('fanfare serve', process.env.FANFARE_BIN, arguments_, environment);
  const line = await server.says(/ address=\S+/);
  return Number(line.match(/ address=\S+:(\d+)/)[1]);
}

async function startBackEnd(server, port) {
  const environment = { FANFARE_PORT: server, PORT: port };
  const backEnd = start('the back end', process.execPath, ['back_end.mjs'], environment);
  const line = await backEnd.says(/http:\S+/);
  return line.match(/http:\S+/)[0];
}

async function startTerminal(server) {
  const url = `http://127.0.0.1:${server}`;
  const channels = ['orders', 'presence-board'];
  const arguments_ = ['subscribe', ...channels, '--user-id', 'terminal', '--url', url];
  const terminal = start('fanfare subscribe', process.env.FANFARE_BIN, arguments_);
  await terminal.says(/subscribed to/);
  return terminal;
}

/** What a page does, in Node: pusher-js subscribes to both channels. */
async function subscribe(server, board) {
  const pusher = new Pusher('app-key', {
    wsHost: '127.0.0.1', wsPort: server, forceTLS: false,
    enabledTransports: ['ws'], cluster: '',
    channelAuthorization: { endpoint: `${board}/pusher/auth`, params: { user: 'pusher-js' } },
  });
  const [orders, people] = ['orders', 'presence-board'].map((name) => pusher.subscribe(name));
  for (const channel of [orders, people]) {
    const succeeded = new Promise((resolve) => channel.bind('pusher:subscription_succeeded', resolve));
    await within(succeeded, `the subscription to ${channel.name}`);
  }
  return {
    orders,
    people: () => Object.keys(people.members.members).sort(),
    close: () => pusher.disconnect(),
  };
}

async function send(board, order, path = '/orders') {
  const request = order ? { method: 'POST', body: new URLSearchParams(order) } : {};
  const answer = await fetch(board + path, { ...request, signal: AbortSignal.timeout(PATIENCE_MS) });
  if (!answer.ok) {
    throw new Error(`${path} answers ${answer.status}: ${await answer.text()}`);
  }
}

/** Resolves with as many things as there are sample orders. */
function collect(listen) {
  const things = [];
  return new Promise((resolve) => {
    listen((thing) => {
      things.push(thing);
      if (things.length === SAMPLE_ORDERS.length) {
        resolve(things);
      }
    });
  });
}

/** Starts a program whose early end is the end of everything. */
function start(name, program, arguments_, environment = {}) {
  const child = spawn(program, arguments_, {
    // Nothing of the visitor's environment configures the server.
    env: { PATH: process.env.PATH, ...environment },
    stdio: ['ignore', 'pipe', 'pipe'],
    // A group of its own: Ctrl-C reaches this process alone, which then stops the
    // others in order.
    detached: true,
  });
  const lines = [];
  const listeners = new Set();
  for (const stream of [child.stdout, child.stderr]) {
    createInterface({ input: stream }).on('line', (line) => {
      lines.push(line);
      lines.splice(0, lines.length - 20);
      listeners.forEach((listener) => listener(line));
    });
  }
  const failed = (why) => {
    if (children.includes(child)) {
      console.error(`quickstart: ${name} ${why}:\n${lines.join('\n')}`);
      stop(1);
    }
  };
  child.on('error', (error) => failed(error.message));
  child.on('exit', (code) => failed(`ended with exit code ${code}`));
  children.push(child);
  return {
    eachLine: (listener) => listeners.add(listener),
    says: (pattern) => {
      const said = new Promise((resolve) => {
        const listener = (line) => {
          if (pattern.test(line)) {
            listeners.delete(listener);
            resolve(line);
          }
        };
        listeners.add(listener);
        lines.forEach(listener);
      });
      return within(said, `${name} to say ${pattern}`);
    },
  };
}

/** Stops what was started, the latest first, and ends. */
async function stop(code) {
  for (const child of children.splice(0).reverse()) {
    if (child.pid === undefined || child.exitCode !== null || child.signalCode !== null) {
      continue;
    }
    const ended = once(child, 'exit');
    child.kill('SIGTERM');
    await within(ended, `the end of process ${child.pid}`, 5_000).catch(() => child.kill('SIGKILL'));
  }
  process.exit(code);
}

async function within(promise, what, ms = PATIENCE_MS) {
  let timer;
  const timeout = new Promise((_, reject) => {
    timer = setTimeout(() => reject(new Error(`waited in vain for ${what}`)), ms);
  });
  return Promise.race([promise, timeout]).finally(() => clearTimeout(timer));
}
