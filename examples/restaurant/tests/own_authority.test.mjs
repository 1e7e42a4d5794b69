// TLS with the restaurant's own certificate authority, as docs/restaurant.md sets it
// up: everything that is signed is checked. Acceptance: ros_dns_override.

import assert from 'node:assert/strict';
import { execFile, spawn } from 'node:child_process';
import { X509Certificate, createHash } from 'node:crypto';
import { once } from 'node:events';
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { createInterface } from 'node:readline';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';

import { atEnd } from '../../../tests/sdk/support/cleanup.mjs';
import { APP, BINARY, startServer } from '../../../tests/sdk/support/server.mjs';
import { within } from '../../../tests/sdk/support/within.mjs';
import { credentials, startBackEnd } from './support/back_end.mjs';
import { openScreen, startBrowser } from './support/screens.mjs';

const CERTIFICATES = fileURLToPath(new URL('../certificates', import.meta.url));
const RESOLVER = new URL('support/resolve_pusher.mjs', import.meta.url).href;

/** The files of an authority and of a certificate for `names`. */
async function certificates(t, ...names) {
  const folder = await mkdtemp(path.join(tmpdir(), 'fanfare-authority-'));
  atEnd(t, () => rm(folder, { recursive: true }));
  await promisify(execFile)(CERTIFICATES, [folder, ...names]);
  const [ca, cert, key] = ['ca.pem', 'cert.pem', 'key.pem'].map((name) => path.join(folder, name));
  return { ca, cert, key };
}

/** What makes Chromium trust this certificate and no other. */
async function trust({ cert }) {
  const { publicKey } = new X509Certificate(await readFile(cert));
  const hash = createHash('sha256').update(publicKey.export({ type: 'spki', format: 'der' })).digest('base64');
  return `--ignore-certificate-errors-spki-list=${hash}`;
}

test('over HTTPS everything works, and what needs HTTPS too', async (t) => {
  const files = await certificates(t, '127.0.0.1', 'kitchen.lan');
  const server = await startServer(t, { server: `tls = { cert = "${files.cert}", key = "${files.key}" }` });
  const backEnd = await startBackEnd(t, {
    ...credentials(server),
    PUSHER_SCHEME: 'https',
    TLS_CERT: files.cert,
    TLS_KEY: files.key,
    NODE_EXTRA_CA_CERTS: files.ca,
  });
  assert.match(backEnd.url, /^https:/);
  const browser = await startBrowser(t, await trust(files));
  const kitchen = await openScreen(browser, backEnd.url, '/kitchen');

  await kitchen.page.evaluate(
    (order) =>
      fetch('/api/orders', { method: 'POST', body: JSON.stringify(order), headers: { 'content-type': 'application/json' } }),
    { requestId: 'an-order', tableNumber: 5, items: [{ menuItem: 'burger' }] },
  );

  await kitchen.shows({ grill: ['T5 | 1× House burger | new'] });
  assert.equal(await kitchen.page.evaluate(() => isSecureContext && 'wakeLock' in navigator), true);
});

test('the terminal listens and sends with the authority, and with no other', async (t) => {
  const { ca, cert, key } = await certificates(t, 'localhost');
  const server = await startServer(t, { server: `tls = { cert = "${cert}", key = "${key}" }` });
  const target = ['--url', `https://localhost:${server.port}`, '--app-id', APP.id, '--key', APP.key, '--secret', APP.secret];
  // Variables of the developer's shell must not configure the program.
  const env = { PATH: process.env.PATH };
  const fanfare = (arguments_) => promisify(execFile)(BINARY, arguments_, { env });

  const listener = spawn(BINARY, ['subscribe', 'kitchen', ...target, '--ca', ca], { env, stdio: ['ignore', 'pipe', 'pipe'] });
  atEnd(t, () => listener.kill());
  await within(once(createInterface({ input: listener.stderr }), 'line'), 'the subscription');
  await fanfare(['trigger', 'kitchen', 'ticket.created', '{"id":7}', ...target, '--ca', ca]);

  const [line] = await within(once(createInterface({ input: listener.stdout }), 'line'), 'the event');
  assert.match(line, / kitchen ticket\.created \{"id":7\}$/);
  await assert.rejects(fanfare(['channels', ...target]), /UnknownIssuer/);
});

test('an installation that knows only a cluster of Pusher finds our server by name, unchanged', async (t) => {
  const files = await certificates(t, 'api-rest1.pusher.com', 'ws-rest1.pusher.com');
  const server = await startServer(t, { server: `tls = { cert = "${files.cert}", key = "${files.key}" }` });
  const backEnd = await startBackEnd(t, {
    PUSHER_APP_ID: APP.id,
    PUSHER_KEY: APP.key,
    PUSHER_SECRET: APP.secret,
    PUSHER_CLUSTER: 'rest1',
    NODE_EXTRA_CA_CERTS: files.ca,
    NODE_OPTIONS: `--import ${RESOLVER}`,
    FANFARE_PORT: String(server.port),
  });
  const browser = await startBrowser(
    t,
    await trust(files),
    `--host-resolver-rules=MAP ws-rest1.pusher.com:443 127.0.0.1:${server.port}`,
  );
  const kitchen = await openScreen(browser, backEnd.url, '/kitchen');
  const sockets = [];
  kitchen.page.on('websocket', (socket) => sockets.push(socket.url()));

  await backEnd.order(5, [['burger']]);
  await kitchen.shows({ grill: ['T5 | 1× House burger | new'] });
  await kitchen.page.reload();
  await kitchen.isLive();

  assert.match(sockets[0], new RegExp(`^wss://ws-rest1\\.pusher\\.com/app/${APP.key}`));
  assert.deepEqual(backEnd.lines.filter((line) => line.startsWith('Pusher:')), []);
});
