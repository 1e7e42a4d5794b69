// The restaurant's back end, a process of its own for each test.

import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';

import { atEnd } from '../../../../tests/sdk/support/cleanup.mjs';
import { APP } from '../../../../tests/sdk/support/server.mjs';
import { within } from '../../../../tests/sdk/support/within.mjs';

const MAIN = fileURLToPath(new URL('../../back_end/main.mjs', import.meta.url));

/** The variables that point a back end to `server`. */
export function credentials(server) {
  return {
    PUSHER_APP_ID: APP.id,
    PUSHER_KEY: APP.key,
    PUSHER_SECRET: APP.secret,
    PUSHER_HOST: server.host,
    PUSHER_PORT: String(server.port),
  };
}

/** Starts one with a database of its own. */
export async function startBackEnd(t, environment) {
  const folder = await mkdtemp(path.join(tmpdir(), 'fanfare-restaurant-'));
  const backEnd = new BackEnd({ DATABASE: path.join(folder, 'restaurant.db'), ...environment });
  atEnd(t, async () => {
    await backEnd.stop();
    await rm(folder, { recursive: true });
  });
  await backEnd.start();
  return backEnd;
}

// The runner ends a test file that takes too long; its back ends end with it.
const running = new Set();
process.on('exit', () => running.forEach((child) => child.kill('SIGKILL')));

class BackEnd {
  /** All that it has said. */
  lines = [];
  // Zero lets the system choose; a restart keeps what was chosen.
  #port = '0';
  #environment;
  #process;
  #requests = 0;

  constructor(environment) {
    this.#environment = environment;
  }

  async start() {
    this.#process = spawn(process.execPath, [MAIN], {
      env: { PATH: process.env.PATH, PORT: this.#port, ...this.#environment },
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    const child = this.#process;
    running.add(child);
    child.on('exit', () => running.delete(child));
    const ready = new Promise((resolve, reject) => {
      for (const stream of [child.stdout, child.stderr]) {
        createInterface({ input: stream }).on('line', (line) => {
          this.lines.push(line);
          const address = line.match(/https?:\/\/\S+/);
          if (address) {
            resolve(address[0]);
          }
        });
      }
      child.once('exit', (code) => reject(new Error(`the back end ended with ${code}: ${this.lines.join('\n')}`)));
    });
    ready.catch(() => {});
    this.url = await within(ready, () => `the back end; it said: ${this.lines.join('\n')}`);
    this.#port = new URL(this.url).port;
  }

  async stop() {
    if (this.#process.exitCode === null && this.#process.signalCode === null) {
      const ended = once(this.#process, 'exit');
      this.#process.kill('SIGTERM');
      await within(ended, 'the end of the back end');
    }
  }

  /** Status and content of an answer. */
  async request(method, where, body) {
    const content = body && { body: JSON.stringify(body), headers: { 'content-type': 'application/json' } };
    const answer = await fetch(this.url + where, { method, ...content });
    return { status: answer.status, content: await answer.json() };
  }

  /** The content of an answer, which must be a yes. */
  async ask(method, where, body) {
    const { status, content } = await this.request(method, where, body);
    if (status >= 300) {
      throw new Error(`${method} ${where} answers ${status}: ${content.error}`);
    }
    return content;
  }

  /** Orders dishes, `[id, quantity, note]` each, for a table or for takeaway. */
  async order(tableNumber, dishes, more = {}) {
    this.#requests += 1;
    return this.ask('POST', '/api/orders', {
      requestId: `test-order-${this.#requests}`,
      tableNumber,
      items: dishes.map(([menuItem, quantity = 1, note = '']) => ({ menuItem, quantity, note })),
      ...more,
    });
  }

  async all() {
    return this.ask('GET', '/api/changes?since=0');
  }

  async ticketsOf({ documentId }) {
    const { tickets } = await this.all();
    return tickets.filter(({ orderDocumentId }) => orderDocumentId === documentId);
  }

  async move(ticket, status) {
    return this.ask('PUT', `/api/tickets/${ticket.documentId}`, { status });
  }
}
