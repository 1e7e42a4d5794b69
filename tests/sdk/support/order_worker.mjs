// Order workers as they are deployed: the program, its Redis, its PostgreSQL, and the
// producer in Node.

import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { createInterface } from 'node:readline';

import Bull from 'bull';
import pg from 'pg';

import { atEnd } from './cleanup.mjs';
import { startPostgres } from './postgres.mjs';
import { startRedis } from './redis.mjs';
import { BINARY } from './server.mjs';
import { eventually, within } from './within.mjs';

/** What passwords are sealed with. */
export const SECRET = '5f7d9c1be4a08362b1d7e09f4c6a8b235f7d9c1be4a08362b1d7e09f4c6a8b23';

/** The password of each account. */
export const PASSWORD = 'Пароль-которого-нет-в-журнале';

const running = new Set();
process.on('exit', () => running.forEach((child) => child.kill('SIGKILL')));

/** Redis and PostgreSQL with the tables and three accounts. */
export async function startGround(t) {
  const [redis, postgres] = await Promise.all([startRedis(t), startPostgres(t)]);
  const ground = new Ground(redis, postgres);
  await ground.run(['migrate']);
  for (const name of ['user-1', 'user-2', 'user-3']) {
    await ground.run(['users', 'add', name], { input: PASSWORD });
  }
  return ground;
}

class Ground {
  #redis;
  #queues = 0;

  constructor(redis, postgres) {
    this.#redis = redis;
    this.postgres = postgres;
  }

  get redisPort() {
    return Number(new URL(this.#redis).port);
  }

  /** The environment that the old worker had. */
  get environment() {
    return {
      PATH: process.env.PATH,
      DB_HOST: '127.0.0.1',
      DB_PORT: String(this.postgres.port),
      DB_USERNAME: this.postgres.user,
      DB_NAME: 'postgres',
      REDIS_HOST: '127.0.0.1',
      REDIS_PORT: String(this.redisPort),
      ROSREESTR_CRYPTO_SECRET: SECRET,
      ROSREESTR_STUB_MS: '0',
    };
  }

  query(text, values) {
    return this.postgres.query(text, values);
  }

  /** Another database of the same server. */
  database(name) {
    return new pg.Pool({ host: '127.0.0.1', port: this.postgres.port, user: this.postgres.user, database: name, max: 1 });
  }

  /** A queue that no other test uses, as the orders service opens it. */
  queue(t, { prefix = 'bull', ...more } = {}) {
    this.#queues += 1;
    const name = `order-processing-${this.#queues}`;
    const queue = new Bull(name, {
      redis: { host: '127.0.0.1', port: this.redisPort },
      prefix,
      ...more,
    });
    queue.on('error', () => {});
    atEnd(t, () => queue.close(true));
    return queue;
  }

  /** Adds an order to the table; returns the data of its job. */
  async order(cadNum = '77:01:0000000:200', userId = 7) {
    const [{ id }] = await this.query(
      'INSERT INTO orders (user_id, cad_num) VALUES ($1, $2) RETURNING id',
      [userId, cadNum],
    );
    return { orderId: id, cadNum, userId };
  }

  async orderRow(id) {
    const [row] = await this.query('SELECT * FROM orders WHERE id = $1', [id]);
    return row;
  }

  /** Runs the program to its end; fails unless it exits with `code`. */
  async run(words, { input = '', environment = {}, code = 0 } = {}) {
    const child = spawn(BINARY, ['order-worker', ...words], {
      env: { ...this.environment, ...environment },
    });
    const told = [];
    child.stdout.on('data', (data) => told.push(data));
    child.stderr.on('data', (data) => told.push(data));
    child.stdin.on('error', () => {});
    child.stdin.end(input);
    const [exit] = await within(once(child, 'close'), `the end of order-worker ${words.join(' ')}`);
    const text = Buffer.concat(told).toString();
    if (exit !== code) {
      throw new Error(`order-worker ${words.join(' ')} ended with ${exit}: ${text}`);
    }
    return text;
  }

  /** A worker for `queue` that takes jobs. */
  async worker(t, queue, environment = {}) {
    const worker = new Worker({
      ...this.environment,
      ROSREESTR_USER_NAME: 'user-1',
      BULL_QUEUE: queue.name,
      BULL_PREFIX: queue.keyPrefix,
      ...environment,
    });
    atEnd(t, () => worker.kill());
    await eventually(() => worker.said('takes jobs for'), () => `a worker; it said: ${worker.log.join('\n')}`);
    return worker;
  }
}

export class Worker {
  log = [];
  #process;

  constructor(environment) {
    const child = spawn(BINARY, ['order-worker'], { env: environment, stdio: ['ignore', 'ignore', 'pipe'] });
    running.add(child);
    child.on('exit', () => running.delete(child));
    createInterface({ input: child.stderr }).on('line', (line) => this.log.push(line));
    this.#process = child;
  }

  get pid() {
    return this.#process.pid;
  }

  /** The first line of the log that contains `text`. */
  said(text) {
    return this.log.find((line) => line.includes(text));
  }

  /** Asks it to stop, and waits; returns its exit code. */
  stop() {
    return this.#end('SIGTERM');
  }

  kill() {
    return this.#end('SIGKILL');
  }

  async #end(signal) {
    const child = this.#process;
    if (child.exitCode === null && child.signalCode === null) {
      const exit = once(child, 'exit');
      child.kill(signal);
      await within(exit, `the worker to end after ${signal}`);
    }
    return child.exitCode;
  }
}

/** Waits until `job` is in `state`. */
export function becomes(job, state) {
  let now;
  return eventually(
    async () => {
      now = await job.getState();
      return now === state;
    },
    () => `job ${job.id} to be ${state}; it is ${now}`,
  );
}
