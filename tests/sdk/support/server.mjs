// A Fanfare process of its own for each test, on ports that were free.

import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';

import { atEnd } from './cleanup.mjs';
import { eventually, within } from './within.mjs';

/** The program that is tested. */
export const BINARY =
  process.env.FANFARE_BIN ?? fileURLToPath(new URL('../../../target/debug/fanfare', import.meta.url));

// The Python SDK takes nothing but digits as an app id.
export const APP = { id: '3001', key: 'app-key', secret: 'app-secret' };

/**
 * Starts a server with one app for the test `t`.
 *
 * `app`: lines for the app's table in the configuration file, `limits`: lines for
 * its limits, `server` and `connection`: lines for those tables, `tables`: further
 * tables, `clientEvents`: whether clients may send events, `id` and `secret`: those of
 * the app.
 */
export async function startServer(t, settings = {}) {
  const { id = APP.id, secret = APP.secret, app = '', limits = '', server = '', connection = '', tables = '', clientEvents = true } = settings;
  const folder = await mkdtemp(path.join(tmpdir(), 'fanfare-sdk-'));
  const file = path.join(folder, 'fanfare.toml');
  await writeFile(
    file,
    `[server]
shutdown_grace = 1
${server}
[connection]
${connection}
${tables}
[[apps]]
id = "${id}"
key = "${APP.key}"
secret = "${secret}"
client_events = ${clientEvents}
${app}
[apps.limits]
${limits}
`,
  );
  const started = new Server(file);
  atEnd(t, async () => {
    await started.kill();
    await rm(folder, { recursive: true });
  });
  await started.start();
  return started;
}

// The runner ends a test file that takes too long; its servers end with it.
const running = new Set();
process.on('exit', () => running.forEach((child) => child.kill('SIGKILL')));
process.on('SIGTERM', () => process.exit(143));

class Server {
  host = '127.0.0.1';
  // Zero lets the system choose; a restart keeps what was chosen.
  port = 0;
  metricsPort = 0;
  #file;
  #process;
  #log = [];

  constructor(file) {
    this.#file = file;
  }

  /** All that it has written into its log. */
  get said() {
    return this.#log;
  }

  get url() {
    return `http://${this.host}:${this.port}`;
  }

  /** Starts the process and waits until it is ready. */
  async start() {
    const ports = ['--port', this.port, '--metrics-port', this.metricsPort];
    const child = spawn(BINARY, ['serve', '--config', this.#file, ...ports], {
      // Variables of the developer's shell must not configure the server.
      env: { PATH: process.env.PATH },
      stdio: ['ignore', 'ignore', 'pipe'],
    });
    this.#process = child;
    running.add(child);
    child.on('exit', () => running.delete(child));
    const failed = once(child, 'error').then(([error]) => Promise.reject(error));
    const ended = once(child, 'exit').then(([code]) =>
      Promise.reject(new Error(`the server ended with ${code}: ${this.#log.join('\n')}`)),
    );
    ended.catch(() => {});
    failed.catch(() => {});
    const ready = this.#readAddresses(child).then(() =>
      eventually(() => this.#isReady(), 'the server to be ready'),
    );
    await Promise.race([within(ready, () => `a ready server; it said: ${this.#log.join('\n')}`), failed, ended]);
  }

  /** Asks the process to stop and waits until it has; its clients get 4200. */
  async stop() {
    await this.#end('SIGTERM');
  }

  /** Ends the process without a word to its clients. */
  async kill() {
    await this.#end('SIGKILL');
  }

  async #end(signal) {
    const child = this.#process;
    if (child?.pid === undefined || child.exitCode !== null || child.signalCode !== null) {
      return;
    }
    const exit = once(child, 'exit');
    child.kill(signal);
    await within(exit, `the server to end after ${signal}`);
  }

  // The first log line that names an address is the server's own.
  #readAddresses(child) {
    return new Promise((resolve) => {
      createInterface({ input: child.stderr }).on('line', (line) => {
        this.#log.push(line);
        const entry = readEntry(line);
        if (entry?.['metrics.address']) {
          this.port = portOf(entry.address);
          this.metricsPort = portOf(entry['metrics.address']);
          resolve();
        }
      });
    });
  }

  async #isReady() {
    try {
      const answer = await fetch(`http://${this.host}:${this.metricsPort}/ready`);
      return answer.ok;
    } catch {
      return false;
    }
  }
}

function readEntry(line) {
  try {
    return JSON.parse(line);
  } catch {
    return undefined;
  }
}

function portOf(address) {
  return Number(address.slice(address.lastIndexOf(':') + 1));
}
