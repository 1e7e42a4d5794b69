// The examples as a page: built with one line changed, served, and opened in Chromium.

import { once } from 'node:events';
import { createServer } from 'node:http';
import { fileURLToPath } from 'node:url';

import vue from '@vitejs/plugin-vue';
import { chromium } from 'playwright-core';
import { build } from 'vite';

import { atEnd } from '../../../../tests/sdk/support/cleanup.mjs';

const CHROMIUM = process.env.CHROMIUM ?? '/usr/bin/chromium';
const OLD = "import { io } from 'socket.io-client';";
const NEW = "import { io } from 'fanfare-socketio-shim';";
const TYPES = { html: 'text/html; charset=utf-8', js: 'text/javascript; charset=utf-8' };

/** Builds the examples; `changed` is how often the line was changed in each file. */
export async function buildExamples() {
  const changed = {};
  const changeOneLine = {
    name: 'change-one-line',
    enforce: 'pre',
    transform(code, id) {
      const [, file] = id.match(/\/examples\/([\w-]+\.(?:jsx|vue))$/) ?? [];
      if (file && code.includes(OLD)) {
        changed[file] = code.split(OLD).length - 1;
        return code.replaceAll(OLD, NEW);
      }
    },
  };
  const { output } = await build({
    root: fileURLToPath(new URL('../examples', import.meta.url)),
    configFile: false,
    logLevel: 'error',
    mode: 'development',
    oxc: { jsx: { runtime: 'automatic' } },
    plugins: [changeOneLine, vue()],
    resolve: { alias: { 'fanfare-socketio-shim': fileURLToPath(new URL('../../dist/index.js', import.meta.url)) } },
    build: { write: false, minify: false },
  });
  const files = new Map(output.map((file) => [`/${file.fileName}`, file.code ?? file.source]));
  return { files, changed };
}

/** Serves `files` for the test `t`; resolves with the origin. */
export async function serveFiles(t, files) {
  const server = createServer(({ url }, response) => {
    const { pathname } = new URL(url, 'http://localhost');
    const path = pathname === '/' ? '/index.html' : pathname;
    const type = TYPES[path.split('.').at(-1)];
    response.writeHead(files.has(path) ? 200 : 404, { 'content-type': type ?? 'text/plain' });
    response.end(files.get(path));
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  atEnd(t, () => {
    server.closeAllConnections();
    server.close();
  });
  return `http://127.0.0.1:${server.address().port}`;
}

export async function startBrowser(t) {
  const browser = await chromium.launch({
    executablePath: CHROMIUM,
    // Chromium's sandbox does not work for root.
    args: process.getuid() === 0 ? ['--no-sandbox'] : [],
  });
  atEnd(t, () => browser.close());
  return browser;
}
