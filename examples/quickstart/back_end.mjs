// The back end of the order board: a plain Node server with the official Pusher
// SDK. It knows the secret; pages know only the key.

import { readFile } from 'node:fs/promises';
import { createServer } from 'node:http';

import Pusher from 'pusher';

const HOST = '127.0.0.1';
const PORT = Number(process.env.PORT ?? 3000);
const FANFARE_PORT = Number(process.env.FANFARE_PORT ?? 6001);
const MAX_ORDERS = 50;

const pusher = new Pusher({
  appId: 'app-id',
  key: 'app-key',
  secret: 'app-secret',
  // With pusher.com this line would read: cluster: 'eu', useTLS: true,
  host: HOST, port: FANFARE_PORT, useTLS: false,
});

// The newest first. A real back end would have a database here.
const orders = [];

const routes = {
  'GET /settings': () => ({ key: 'app-key', host: HOST, port: FANFARE_PORT }),

  'GET /orders': () => orders,

  'POST /orders': async (form) => {
    const [table, dish] = [required(form, 'table'), required(form, 'dish')];
    const id = (orders[0]?.id ?? 0) + 1;
    const order = { id, table, dish, isServed: false };
    orders.unshift(order);
    orders.length = Math.min(orders.length, MAX_ORDERS);
    await pusher.trigger('orders', 'order.created', order);
    return order;
  },

  'POST /served': async (form) => {
    const order = orders.find(({ id }) => id === Number(required(form, 'id')));
    if (!order) {
      throw new Refusal(404, 'no such order');
    }
    order.isServed = true;
    await pusher.trigger('orders', 'order.served', order);
    return order;
  },

  // pusher-js asks here before it enters the presence channel. A real back end
  // would look into the session to see who asks, and refuse strangers.
  'POST /pusher/auth': (form) =>
    pusher.authorizeChannel(required(form, 'socket_id'), required(form, 'channel_name'), {
      user_id: required(form, 'user'),
      user_info: { name: required(form, 'user') },
    }),
};

const files = {
  '/': ['public/index.html', 'text/html; charset=utf-8'],
  '/board.js': ['public/board.js', 'text/javascript; charset=utf-8'],
  '/board.css': ['public/board.css', 'text/css; charset=utf-8'],
  '/pusher.min.js': ['node_modules/pusher-js/dist/web/pusher.min.js', 'text/javascript; charset=utf-8'],
};

/** What the page asked for cannot be done, and it is told why. */
class Refusal extends Error {
  constructor(status, message) {
    super(message);
    this.status = status;
  }
}

function required(form, name) {
  const value = form.get(name)?.trim().slice(0, 80);
  if (!value) {
    throw new Refusal(400, `${name} is missing`);
  }
  return value;
}

async function answer(request, response) {
  const { pathname } = new URL(request.url, 'http://localhost');
  if (request.method === 'GET' && Object.hasOwn(files, pathname)) {
    const [path, type] = files[pathname];
    const body = await readFile(new URL(path, import.meta.url));
    response.writeHead(200, { 'content-type': type }).end(body);
    return;
  }
  const route = `${request.method} ${pathname}`;
  if (!Object.hasOwn(routes, route)) {
    throw new Refusal(404, 'not found');
  }
  const form = new URLSearchParams(await readBody(request));
  const body = JSON.stringify(await routes[route](form));
  response.writeHead(200, { 'content-type': 'application/json' }).end(body);
}

async function readBody(request) {
  let body = '';
  for await (const chunk of request.setEncoding('utf8')) {
    body += chunk;
    if (body.length > 10_000) {
      throw new Refusal(413, 'too large');
    }
  }
  return body;
}

const server = createServer((request, response) => {
  answer(request, response).catch((error) => {
    if (!(error instanceof Refusal)) {
      console.error(error);
    }
    const status = error instanceof Refusal ? error.status : 500;
    response.writeHead(status, { 'content-type': 'text/plain; charset=utf-8' }).end(`${error.message}\n`);
  });
});

server.on('error', (error) => {
  console.error(error.message);
  process.exit(1);
});

server.listen(PORT, HOST, () => {
  console.log(`order board at http://${HOST}:${server.address().port}`);
});
