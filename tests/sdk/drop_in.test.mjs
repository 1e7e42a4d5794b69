// Clients that are written for hosted Pusher and know only their cluster: names
// that resolve to the server, and trust in its authority, are all they get.

import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { mkdtemp, mkdir, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';

import { startBackEnd } from './support/back_end.mjs';
import { FILES, startBrowser } from './support/browser.mjs';
import { atEnd } from './support/cleanup.mjs';
import { serverSdk } from './support/clients.mjs';
import { APP, BINARY, startServer } from './support/server.mjs';

const run = promisify(execFile);
const file = (name) => fileURLToPath(new URL(`./support/${name}`, import.meta.url));

/** A server with certificates of `fanfare certs`, plain on one port and TLS on another. */
async function site(t) {
  const folder = await mkdtemp(path.join(tmpdir(), 'fanfare-drop-in-'));
  atEnd(t, () => rm(folder, { recursive: true }));
  const { stdout } = await run(BINARY, ['certs', '--cluster', 'eu', '--address', '127.0.0.1', '--out', folder]);
  for (const line of ['127.0.0.1 ws-eu.pusher.com sockjs-eu.pusher.com api-eu.pusher.com', 'NODE_EXTRA_CA_CERTS=']) {
    assert.ok(stdout.includes(line), stdout);
  }
  const server = await startServer(t, {
    server: `tls = { cert = "${folder}/cert.pem", key = "${folder}/key.pem" }`,
  });
  return { server, folder, authority: path.join(folder, 'ca.pem') };
}

test('stock pusher and pusher-js in Node find the server by name and trust it', async (t) => {
  const { server, authority } = await site(t);

  const { stdout } = await run(process.execPath, ['--import', file('redirect.mjs'), file('stock.mjs')], {
    env: { ...process.env, NODE_EXTRA_CA_CERTS: authority, FANFARE_TLS_PORT: String(server.port) },
    timeout: 40_000,
  });

  assert.deepEqual(JSON.parse(stdout), { heard: { id: 7 } });
});

test('without the authority nothing is trusted', async (t) => {
  const { server } = await site(t);

  const failed = await run(process.execPath, ['--import', file('redirect.mjs'), '-e', `
    require('node:https').get('https://api-eu.pusher.com/', () => process.exit(0)).on('error', (error) => {
      console.log(error.code);
      process.exit(1);
    });
  `], { env: { ...process.env, FANFARE_TLS_PORT: String(server.port) }, timeout: 40_000 }).catch((error) => error);

  assert.match(failed.stdout ?? '', /UNABLE_TO_|SELF_SIGNED/);
});

for (const [name, options] of [
  ['WebSockets', {}],
  ['HTTP alone', { enabledTransports: ['xhr_streaming', 'xhr_polling'] }],
]) {
  test(`stock pusher-js in Chromium connects with ${name}`, async (t) => {
    const { server, folder, authority } = await site(t);
    const home = path.join(folder, 'home');
    const database = path.join(home, '.pki', 'nssdb');
    await mkdir(database, { recursive: true });
    await run('certutil', ['-N', '-d', `sql:${database}`, '--empty-password']);
    await run('certutil', ['-A', '-d', `sql:${database}`, '-t', 'C,,', '-n', 'fanfare', '-i', authority]);
    const rules = ['ws-eu', 'sockjs-eu'].map((host) => `MAP ${host}.pusher.com:443 127.0.0.1:${server.port}`);
    const browser = await startBrowser(t, {
      args: [`--host-resolver-rules=${rules.join(',')}`],
      env: { HOME: home, XDG_DATA_HOME: path.join(home, '.local', 'share') },
    });
    const sdk = serverSdk(server, { useTLS: true });
    const backEnd = await startBackEnd(t, sdk, { files: FILES });
    const page = await browser.newPage();
    await page.goto(backEnd);
    await page.addScriptTag({ url: `${backEnd}/pusher-8.6.0.js` });

    await page.evaluate(
      ({ key, options }) => {
        window.pusher = new Pusher(key, { cluster: 'eu', forceTLS: true, ...options });
        window.pusher.subscribe('orders').bind('order', (data) => {
          window.heard = data;
        });
      },
      { key: APP.key, options },
    );

    await page.waitForFunction(() => window.pusher.channel('orders').subscribed, null, { timeout: 40_000 });
    await run(process.execPath, ['--import', file('redirect.mjs'), '-e', `
      const Pusher = require('pusher');
      new Pusher({ appId: '3001', key: 'app-key', secret: 'app-secret', cluster: 'eu', useTLS: true })
        .trigger('orders', 'order', { id: 7 });
    `], {
      cwd: fileURLToPath(new URL('.', import.meta.url)),
      env: { ...process.env, NODE_EXTRA_CA_CERTS: authority, FANFARE_TLS_PORT: String(server.port) },
      timeout: 40_000,
    });
    const heard = await page.waitForFunction(() => window.heard, null, { timeout: 40_000 });
    assert.deepEqual(await heard.jsonValue(), { id: 7 });
  });
}
