// The back end of the call centre: a plain Node server that knows calls and orders,
// gives operators their tokens, and tells Fanfare what happens. It has no connection
// to a browser that lasts, and needs no library for realtime.

import { createHmac } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { createServer } from 'node:http';

import { play, sampleCall, sampleOrder } from './sample_traffic.mjs';

const HOST = '127.0.0.1';
const { PORT = '3000', REALTIME_URL, JWT_SECRET, WEBHOOK_TOKEN, TRAFFIC } = process.env;
const SHIFT_S = 8 * 3_600;
const KEPT = 40;

// The newest first. A real back end would have a database here.
const calls = [];
const orders = [];
let operators = 0;

const routes = {
  'GET /settings': () => ({ url: REALTIME_URL }),

  'GET /state': () => ({ calls, orders }),

  // A real back end would ask for a password.
  'POST /session': ({ name = '' }) => {
    operators += 1;
    const user = { sub: `${operators}`, role: 'operator', name: name.slice(0, 40) || `Operator ${operators}` };
    return { token: sign({ ...user, exp: Math.floor(Date.now() / 1_000) + SHIFT_S }), user };
  },

  'POST /sample': async ({ city }) => {
    await actions.newCall(sampleCall(city));
    await actions.newOrder(sampleOrder(city));
    await actions.notify('One call and one order were sent by hand.');
    return {};
  },
};

/** What happens in a call centre; each is kept here and broadcast. */
const actions = {
  async newCall(call) {
    const added = { ...call, id: (calls[0]?.id ?? 0) + 1 };
    calls.unshift(added);
    calls.length = Math.min(calls.length, KEPT);
    await broadcast('call-new', { call: added, rooms: ['operators', `city:${added.city}`] });
    return added;
  },
  async updateCall(call, changes) {
    Object.assign(call, changes);
    const kind = call.status === 'ended' ? 'call-ended' : 'call-updated';
    await broadcast(kind, { call: { id: call.id, ...changes }, rooms: ['operators', `city:${call.city}`] });
  },
  async newOrder(order) {
    const added = { ...order, id: (orders[0]?.id ?? 0) + 1 };
    orders.unshift(added);
    orders.length = Math.min(orders.length, KEPT);
    // Somebody who is in several of these rooms hears it once.
    await broadcast('order-new', { order: added, rooms: ['operators', 'directors', `city:${added.city}`] });
  },
  async notify(message, severity = 'info') {
    await broadcast('notification', { notification: { type: 'desk', message, severity } });
  },
};

async function broadcast(kind, body) {
  const answer = await fetch(`${REALTIME_URL}/api/v1/broadcast/${kind}`, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify({ token: WEBHOOK_TOKEN, ...body }),
    signal: AbortSignal.timeout(5_000),
  });
  if (!answer.ok) {
    throw new Error(`${kind}: ${answer.status} ${await answer.text()}`);
  }
}

function sign(claims) {
  const encode = (part) => Buffer.from(JSON.stringify(part)).toString('base64url');
  const text = `${encode({ alg: 'HS256', typ: 'JWT' })}.${encode(claims)}`;
  return `${text}.${createHmac('sha256', JWT_SECRET).update(text).digest('base64url')}`;
}

const files = {
  '/': ['public/index.html', 'text/html; charset=utf-8'],
  '/desk.js': ['public/desk.js', 'text/javascript; charset=utf-8'],
  '/desk.css': ['public/desk.css', 'text/css; charset=utf-8'],
  '/socketio-shim.js': [
    '../../clients/socketio-shim/dist/socketio-shim.min.js',
    'text/javascript; charset=utf-8',
  ],
};

async function answer(request, response) {
  const { pathname } = new URL(request.url, 'http://localhost');
  const route = `${request.method} ${pathname}`;
  if (request.method === 'GET' && Object.hasOwn(files, pathname)) {
    const [path, type] = files[pathname];
    const body = await readFile(new URL(path, import.meta.url));
    response.writeHead(200, { 'content-type': type }).end(body);
  } else if (Object.hasOwn(routes, route)) {
    const form = Object.fromEntries(new URLSearchParams(await readBody(request)));
    const body = JSON.stringify(await routes[route](form));
    response.writeHead(200, { 'content-type': 'application/json', 'cache-control': 'no-store' }).end(body);
  } else {
    response.writeHead(404).end('not found\n');
  }
}

async function readBody(request) {
  let body = '';
  for await (const chunk of request.setEncoding('utf8')) {
    body += chunk;
    if (body.length > 10_000) {
      throw new Error('too large');
    }
  }
  return body;
}

const server = createServer((request, response) => {
  answer(request, response).catch((error) => {
    console.error(error.message);
    if (!response.headersSent) {
      response.writeHead(500, { 'content-type': 'text/plain; charset=utf-8' });
    }
    response.end(`${error.message}\n`);
  });
});

server.on('error', (error) => {
  console.error(error.message);
  process.exit(1);
});

server.listen(PORT, HOST, () => {
  console.log(`the desk at http://${HOST}:${server.address().port}`);
  if (TRAFFIC === 'on') {
    play(actions);
  }
});
