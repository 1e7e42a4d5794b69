// Starts the server and the order service, and stops both at Ctrl-C. `--once` checks
// that a new order arrives on a display and at a mechanic, and ends.

import { createHmac, randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { readFile } from 'node:fs/promises';
import { createServer } from 'node:http';

import Pusher from 'pusher-js';

import { startFanfare, stop, stopAtSignals, within } from '../support/processes.mjs';
import { OrderService } from './order_service.mjs';
import { fill, play, visitor } from './sample_traffic.mjs';

const HOST = '127.0.0.1';
const SHIFT_S = 12 * 3_600;
const PUSHER_JS = new URL('node_modules/pusher-js/dist/web/pusher.min.js', import.meta.url);

const isCheck = process.argv.includes('--once');
const { PORT = '3000', FANFARE_PORT = '6001', METRICS_PORT = '9601' } = process.env;
// Made anew at each start: tokens of an earlier run are worth nothing.
const JWT_SECRET = randomBytes(32).toString('hex');
const WEBHOOK_TOKEN = randomBytes(16).toString('hex');

stopAtSignals('sto');

try {
  await (isCheck ? check() : demonstrate());
} catch (error) {
  console.error(`sto: ${error.message}`);
  await stop(1);
}

async function demonstrate() {
  const { hall, service } = await startAll({ port: FANFARE_PORT, metricsPort: METRICS_PORT, hallPort: PORT });
  await fill(service);
  console.log(`
  Open ${hall}: it leads to the board, to a mechanic and to a customer.
  Orders come by themselves. Stop this with Ctrl-C, and the pages say since when
  they are offline.
`);
  await play(service);
}

async function check() {
  const { server, port, service } = await startAll({ port: 0, metricsPort: 0, hallPort: 0 });
  for (const path of ['adapters/sto/board', 'adapters/sto/mechanic', 'queue/status/', 'adapters/sto/page/settings.json']) {
    await ask(`${server}/${path}`);
  }
  const board = await subscribe(port, 'presence-sto-display;hall', sign('hall', ['display']));
  const mechanic = await subscribe(port, 'private-sto-zone;workshop', sign('rustam', ['mechanic']));
  const numbers = [];
  const shown = new Promise((resolve) => {
    board.bind('queue_update', ({ orders }) => orders.length > 0 && resolve(orders[0].queueNumber));
    mechanic.bind('new_order', ({ order }) => numbers.push(order.queueNumber));
  });
  const { queueNumber } = await service.create(visitor('workshop'));
  const onBoard = await within(shown, 'the order on the board');
  await within(until(() => numbers.length > 0), 'the order at the mechanic');
  if (onBoard !== queueNumber || numbers.join() !== String(queueNumber)) {
    throw new Error(`order ${queueNumber}: the board shows ${onBoard}, the mechanic heard ${numbers}`);
  }
  console.log(`order ${queueNumber} is on the board, and a mechanic has heard of it once`);
  await stop(0);
}

async function startAll({ port, metricsPort, hallPort }) {
  const hall = createServer((request, response) => serve(request, response, links));
  let links = '';
  hall.listen(Number(hallPort), HOST);
  await once(hall, 'listening');
  const url = `http://${HOST}:${hall.address().port}`;
  const fanfare = await startFanfare({
    port,
    metricsPort,
    environment: {
      JWT_SECRET,
      FANFARE_ADAPTERS_STO_ENABLED: 'true',
      FANFARE_ADAPTERS_STO_WEBHOOK_TOKEN: WEBHOOK_TOKEN,
      // A hall without the internet has it too.
      FANFARE_ADAPTERS_STO_PUSHER_JS: `${url}/pusher.min.js`,
    },
  });
  const server = `http://${HOST}:${fanfare}`;
  const service = new OrderService(server, WEBHOOK_TOKEN);
  links = () => page(server, service);
  return { hall: url, server, port: fanfare, service };
}

async function serve({ url }, response, links) {
  if (url === '/pusher.min.js') {
    response.setHeader('content-type', 'text/javascript');
    response.end(await readFile(PUSHER_JS));
  } else if (url === '/') {
    response.setHeader('content-type', 'text/html; charset=utf-8');
    response.end(links());
  } else {
    response.writeHead(404).end();
  }
}

/** Where everything is. Nobody but the visitor of this example gets these tokens. */
function page(server, service) {
  const order = service.inState('waiting').at(-1) ?? service.orders.at(-1);
  const display = sign('hall', ['display']);
  const mechanic = sign('rustam', ['mechanic', 'display']);
  const follow = order && `queue/status/${order.id}?phone=${encodeURIComponent(order.customerPhone)}`;
  const links = [
    ['The board on the wall', `adapters/sto/board?display=hall#token=${display}`],
    ['The board on the wall, in Russian and dark', `adapters/sto/board?display=hall-ru&lang=ru&theme=dark#token=${display}`],
    ['The mechanic of the workshop', `adapters/sto/mechanic?zone=workshop#token=${mechanic}`],
    ['The customer who came last', follow],
  ];
  const items = links.filter(([, path]) => path).map(([text, path]) => `<li><a href="${server}/${path}">${text}</a></li>`);
  return `<!doctype html><html lang="en"><meta name="viewport" content="width=device-width"><title>A car service</title>
<h1>A car service</h1><ul>${items.join('')}</ul></html>`;
}

function sign(sub, role) {
  const encode = (part) => Buffer.from(JSON.stringify(part)).toString('base64url');
  const claims = { sub, role, exp: Math.floor(Date.now() / 1_000) + SHIFT_S };
  const text = `${encode({ alg: 'HS256', typ: 'JWT' })}.${encode(claims)}`;
  return `${text}.${createHmac('sha256', JWT_SECRET).update(text).digest('base64url')}`;
}

/** What a page does, in Node. Resolves with the channel when it is subscribed. */
async function subscribe(port, name, token) {
  const pusher = new Pusher('app-key', {
    wsHost: HOST,
    wsPort: port,
    forceTLS: false,
    enabledTransports: ['ws'],
    cluster: '',
    channelAuthorization: {
      endpoint: `http://${HOST}:${port}/adapters/sto/v1/auth`,
      transport: 'ajax',
      headersProvider: () => ({ Authorization: `Bearer ${token}` }),
    },
  });
  const channel = pusher.subscribe(name);
  await within(new Promise((resolve, reject) => {
    channel.bind('pusher:subscription_succeeded', resolve);
    channel.bind('pusher:subscription_error', ({ status }) => reject(new Error(`${name}: ${status}`)));
  }), name);
  return channel;
}

async function ask(url) {
  const answer = await fetch(url, { signal: AbortSignal.timeout(30_000) });
  if (!answer.ok) {
    throw new Error(`${url} answers ${answer.status}: ${await answer.text()}`);
  }
  await answer.arrayBuffer();
}

async function until(condition) {
  while (!condition()) {
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
}
