// Programs that an example consists of: started in order, stopped in the other
// order, and the early end of one is the end of all.

import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { createInterface } from 'node:readline';

const PATIENCE_MS = 30_000;
const LAST_LINES = 20;

const children = [];
let example = 'example';

/** Stops everything at Ctrl-C. `name` stands before what goes wrong. */
export function stopAtSignals(name) {
  example = name;
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP']) {
    process.once(signal, () => stop(0));
  }
}

/** Starts the Fanfare that `prepare` has built; resolves with its port. `config` is a file. */
export async function startFanfare({ port, metricsPort, config, environment = {} }) {
  const arguments_ = ['serve', '--port', port, '--metrics-port', metricsPort];
  if (config) {
    arguments_.push('--config', config);
  }
  const settings = { FANFARE_LOG_FORMAT: 'text', FANFARE_SERVER_SHUTDOWN_GRACE: '1', ...environment };
  const server = start('fanfare serve', process.env.FANFARE_BIN, arguments_, settings);
  const line = await server.says(/ address=\S+/);
  return Number(line.match(/ address=\S+:(\d+)/)[1]);
}

/** Starts a Node program that says where it is; resolves with its URL. */
export async function startNode(name, file, environment) {
  const program = start(name, process.execPath, [file], environment);
  const line = await program.says(/http:\S+/);
  return line.match(/http:\S+/)[0];
}

/** Starts a program whose early end is the end of everything. */
export function start(name, program, arguments_, environment = {}) {
  const child = spawn(program, arguments_, {
    // Nothing of the visitor's environment configures it.
    env: { PATH: process.env.PATH, ...environment },
    stdio: ['ignore', 'pipe', 'pipe'],
    // A group of its own: Ctrl-C reaches this process alone, which then stops the
    // others in order.
    detached: true,
  });
  const lines = [];
  const listeners = new Set();
  for (const stream of [child.stdout, child.stderr]) {
    createInterface({ input: stream }).on('line', (line) => {
      lines.push(line);
      lines.splice(0, lines.length - LAST_LINES);
      listeners.forEach((listener) => listener(line));
    });
  }
  const failed = (why) => {
    if (children.includes(child)) {
      console.error(`${example}: ${name} ${why}:\n${lines.join('\n')}`);
      stop(1);
    }
  };
  child.on('error', (error) => failed(error.message));
  child.on('exit', (code) => failed(`ended with exit code ${code}`));
  children.push(child);
  return {
    eachLine: (listener) => listeners.add(listener),
    says: (pattern, ms) => {
      const said = new Promise((resolve) => {
        const listener = (line) => {
          if (pattern.test(line)) {
            listeners.delete(listener);
            resolve(line);
          }
        };
        listeners.add(listener);
        lines.forEach(listener);
      });
      return within(said, `${name} to say ${pattern}`, ms);
    },
  };
}

/** Stops what was started, the latest first, and ends. */
export async function stop(code) {
  for (const child of children.splice(0).reverse()) {
    if (child.pid === undefined || child.exitCode !== null || child.signalCode !== null) {
      continue;
    }
    const ended = once(child, 'exit');
    child.kill('SIGTERM');
    await within(ended, `the end of process ${child.pid}`, 5_000).catch(() => child.kill('SIGKILL'));
  }
  process.exit(code);
}

/** Settles as `promise` does, or fails after `ms` and says what did not come. */
export async function within(promise, what, ms = PATIENCE_MS) {
  let timer;
  const timeout = new Promise((_, reject) => {
    timer = setTimeout(() => reject(new Error(`waited in vain for ${what}`)), ms);
  });
  return Promise.race([promise, timeout]).finally(() => clearTimeout(timer));
}
