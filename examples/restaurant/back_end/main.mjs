// The back end: an HTTP API over the documents, and the built front end.
//
// PORT (default 3000) and HOST (default 127.0.0.1) say where it listens, TLS_CERT
// and TLS_KEY name PEM files for HTTPS, DATABASE is its file (default
// restaurant.db), PACE makes the kitchen's clock run faster.
// What it knows of Pusher comes from the variables of the same names as ever, see
// src/utils/pusher.mjs.

import { readFileSync } from 'node:fs';
import { createServer } from 'node:http';
import { createServer as createTlsServer } from 'node:https';
import { fileURLToPath } from 'node:url';

import express from 'express';

import { Documents } from './documents.mjs';
import { Refusal, Restaurant } from './restaurant.mjs';

const { HOST = '127.0.0.1', PORT = '3000', TLS_CERT, TLS_KEY, DATABASE = 'restaurant.db', PACE = '1' } = process.env;
const FRONT_END = fileURLToPath(new URL('../dist', import.meta.url));

const documents = await Documents.open(DATABASE);
globalThis.strapi = documents.asStrapi();
const restaurant = new Restaurant(documents, Number(PACE));

const app = express();
app.disable('x-powered-by');
app.use(express.json({ limit: '20kb' }));

// Pages learn here where to connect, so that one build serves every restaurant.
// The secret is not among it.
app.get('/settings.json', (_, response) => {
  const { env } = process;
  // What is on this machine for the back end is on another one for a tablet.
  const ownHost = ['127.0.0.1', 'localhost', '::1'].includes(env.PUSHER_HOST) ? '' : env.PUSHER_HOST;
  response.json({
    key: env.NEXT_PUBLIC_PUSHER_KEY ?? env.PUSHER_KEY ?? '',
    cluster: env.NEXT_PUBLIC_PUSHER_CLUSTER ?? env.PUSHER_CLUSTER ?? '',
    isHosted: !env.PUSHER_HOST,
    host: env.NEXT_PUBLIC_PUSHER_HOST ?? ownHost ?? '',
    port: Number(env.PUSHER_PORT ?? 443),
    tls: env.PUSHER_SCHEME === 'https',
    wsUrl: env.NEXT_PUBLIC_WS_URL ?? '',
  });
});

app.get('/api/menu', (_, response) => response.json(restaurant.menu()));
app.get('/api/changes', ({ query }, response) => {
  response.set('cache-control', 'no-store').json(restaurant.changes(String(query.origin), Number(query.since)));
});
app.post('/api/orders', ({ body }, response) => response.status(201).json(restaurant.placeOrder(body ?? {})));
app.post('/api/orders/:id/cancel', ({ params, body }, response) => response.json(restaurant.cancelOrder(params.id, body?.reason)));
app.put('/api/tickets/:id', ({ params, body }, response) => response.json(restaurant.moveTicket(params.id, body?.status)));
app.post('/api/tables/:number/pay', ({ params }, response) => response.json(restaurant.payTable(Number(params.number))));
app.post('/api/batches', ({ body }, response) => response.status(201).json(restaurant.receiveBatch(body ?? {})));
app.use('/api', () => {
  throw new Refusal(404, 'there is no such thing here');
});

app.use('/assets', express.static(`${FRONT_END}/assets`, { immutable: true, maxAge: '1y', fallthrough: false }));
app.use(express.static(FRONT_END, { index: false }));
// Every other address is one of the front end's own.
app.get('/{*page}', (_, response) => response.sendFile('index.html', { root: FRONT_END }));

app.use((error, _request, response, _next) => {
  const status = error.status ?? 500;
  if (status >= 500) {
    console.error(error);
  }
  response.status(status).json({ error: status >= 500 ? 'the back end has failed' : error.message });
});

const isTls = Boolean(TLS_CERT && TLS_KEY);
const server = isTls
  ? createTlsServer({ cert: readFileSync(TLS_CERT), key: readFileSync(TLS_KEY) }, app)
  : createServer(app);
server.on('error', (error) => {
  console.error(error.message);
  process.exit(1);
});
server.listen(Number(PORT), HOST, () => {
  console.log(`restaurant at ${isTls ? 'https' : 'http'}://${HOST}:${server.address().port}`);
});

const watch = setInterval(() => restaurant.watchTime(), 1_000);

for (const signal of ['SIGINT', 'SIGTERM']) {
  process.once(signal, () => {
    clearInterval(watch);
    server.close();
    server.closeAllConnections();
    documents.close();
    process.exit(0);
  });
}
