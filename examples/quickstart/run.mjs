// Starts the server, the back end and a subscriber in this terminal, sends some
// sample orders, and stops everything at Ctrl-C. `--once` checks that the orders
// arrived and ends; `start` calls it.

import Pusher from 'pusher-js';

import { start, startFanfare, startNode, stop, stopAtSignals, within } from '../support/processes.mjs';

const PATIENCE_MS = 30_000;
const PAUSE_BETWEEN_ORDERS_MS = 1_000;

const SAMPLE_ORDERS = [
  { table: '4', dish: 'Tomato soup, no cream' },
  { table: '12', dish: '2 × Wiener Schnitzel' },
  { table: '7a', dish: 'Crème brûlée' },
];

const isCheck = process.argv.includes('--once');

stopAtSignals('quickstart');

try {
  await (isCheck ? check() : demonstrate());
} catch (error) {
  console.error(`quickstart: ${error.message}`);
  await stop(1);
}

async function demonstrate() {
  const { PORT, FANFARE_PORT, METRICS_PORT } = process.env;
  const server = await startFanfare({ port: FANFARE_PORT ?? 6001, metricsPort: METRICS_PORT ?? 9601 });
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
  const server = await startFanfare({ port: 0, metricsPort: 0 });
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

async function startBackEnd(server, port) {
  return startNode('the back end', 'back_end.mjs', { FANFARE_PORT: server, PORT: port });
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
