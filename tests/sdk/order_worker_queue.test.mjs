// The order worker on queues of the real `bull`: whatever a producer, a worker or a board
// in Node sees of a job is what it would see of a worker in Node.

import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { createInterface } from 'node:readline';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';

import { createBullBoard } from '@bull-board/api';
import { BullAdapter } from '@bull-board/api/bullAdapter';

import { becomes, startGround } from './support/order_worker.mjs';
import { eventually, within } from './support/within.mjs';

const NUMBER = /^RR-\d+-[A-Z0-9]{6}$/;

test('a queue of bull', { concurrency: 4 }, async (t) => {
  const ground = await startGround(t);
  const tests = [];
  const it = (name, run) => tests.push(t.test(name, run));

  it('bull_contract_add: finished(), events, counts and fields of a job', async (t) => {
    const queue = ground.queue(t);
    const heard = [];
    for (const event of ['active', 'progress', 'completed']) {
      queue.on(`global:${event}`, (id, value) => heard.push([event, id, value]));
    }
    await queue.isReady();
    const data = await ground.order();
    const first = await queue.add('process-order', data, { removeOnComplete: 100 });
    assert.deepEqual(await waiting(queue), 1);
    await ground.worker(t, queue);

    const result = await within(first.finished(), 'the end of the job');

    assert.match(result.rosreestrOrderNum, NUMBER);
    assert.equal(await first.getState(), 'completed');
    const job = await queue.getJob(first.id);
    assert.deepEqual(job.returnvalue, result);
    assert.equal(job.attemptsMade, 0);
    assert.equal(job.progress(), 100);
    assert.ok(job.processedOn >= job.timestamp && job.finishedOn >= job.processedOn);
    const { logs } = await queue.getJobLogs(first.id);
    assert.equal(logs[0], `Processing order ${data.orderId} (cadNum: ${data.cadNum}) for user 7`);
    await eventually(() => heard.length >= 5, () => JSON.stringify(heard));
    assert.deepEqual(
      heard.map(([event]) => event),
      ['active', 'progress', 'progress', 'progress', 'completed'],
    );
    assert.deepEqual(heard.at(-1), ['completed', String(first.id), JSON.stringify(result)]);
    assert.deepEqual(await queue.getJobCounts(), {
      waiting: 0,
      active: 0,
      completed: 1,
      failed: 0,
      delayed: 0,
      paused: 0,
    });
    assert.equal(await lock(queue, first.id), null);
  });

  it('bull_contract_delayed, priority and lifo: the order in which jobs are done', async (t) => {
    const queue = ground.queue(t);
    const done = [];
    queue.on('global:completed', (id) => done.push(id));
    await queue.isReady();
    const add = async (id, opts) => {
      await queue.add('process-order', await ground.order(), { jobId: id, removeOnComplete: 100, ...opts });
    };
    await add('plain-1', {});
    await add('low', { priority: 9 });
    await add('later', { delay: 400 });
    await add('high', { priority: 1 });
    await add('plain-2', {});
    await add('high-2', { priority: 1 });
    await add('next', { lifo: true });

    await ground.worker(t, queue);

    await eventually(() => done.length === 7, () => `all jobs; done: ${done}`);
    assert.deepEqual(done, ['next', 'high', 'high-2', 'low', 'plain-1', 'plain-2', 'later']);
    const later = await queue.getJob('later');
    assert.ok(later.processedOn >= later.timestamp + 400 && later.delay === 0, `${later.processedOn} ${later.timestamp}`);
  });

  it('bull_contract_retry: attempts, back-off, and a failure in the end', async (t) => {
    const queue = ground.queue(t);
    const failed = [];
    queue.on('global:failed', (id, reason) => failed.push([id, reason]));
    await queue.isReady();
    const opts = { attempts: 3, backoff: { type: 'exponential', delay: 100 } };
    const unknown = await queue.add('another-job', {}, opts);
    await ground.worker(t, queue);

    const reason = await within(
      unknown.finished().then(() => 'none', (error) => error.message),
      'the failure',
    );

    assert.equal(reason, 'Missing process handler for job type another-job');
    const job = await queue.getJob(unknown.id);
    assert.equal(job.attemptsMade, 3);
    assert.equal(job.failedReason, reason);
    assert.deepEqual(job.stacktrace, Array(3).fill(`Error: ${reason}`));
    assert.deepEqual(failed, [[String(unknown.id), reason]]);
    // 100 ms, then 300 ms.
    assert.ok(job.finishedOn - job.timestamp >= 400, `${job.finishedOn - job.timestamp}`);

    const twice = await queue.add('another-job', {}, { attempts: 2, backoff: 50, stackTraceLimit: 1 });
    await becomes(twice, 'failed');
    assert.equal((await queue.getJob(twice.id)).stacktrace.length, 1);
    const custom = await queue.add('another-job', {}, { attempts: 5, backoff: { type: 'mine' } });
    await becomes(custom, 'failed');
    assert.match((await queue.getJob(custom.id)).failedReason, /^Unknown backoff strategy mine/);
    const repeated = await queue.add('process-order', {}, { repeat: { every: 100, limit: 1 } });
    await becomes(repeated, 'failed');
    assert.match((await queue.getJob(repeated.id)).failedReason, /repeat/);
  });

  it('bull_contract_failed: job.retry() after the cause is gone', async (t) => {
    const queue = ground.queue(t);
    const data = await ground.order();
    await ground.query('UPDATE orders SET deleted_at = now() WHERE id = $1', [data.orderId]);
    const job = await queue.add('process-order', data, { removeOnComplete: 100, attempts: 5 });
    await ground.worker(t, queue);
    await becomes(job, 'failed');
    assert.equal((await queue.getJob(job.id)).failedReason, `there is no order ${data.orderId}`);
    assert.equal((await queue.getJob(job.id)).attemptsMade, 1);

    await ground.query('UPDATE orders SET deleted_at = NULL WHERE id = $1', [data.orderId]);
    await (await queue.getJob(job.id)).retry();

    await becomes(job, 'completed');
  });

  it('bull_contract_removeOn: what is kept of jobs that have ended', async (t) => {
    const queue = ground.queue(t);
    await ground.worker(t, queue);
    const add = async (opts, name = 'process-order') => queue.add(name, await ground.order(), opts);

    const gone = await add({ removeOnComplete: true });
    await eventually(async () => (await queue.getJob(gone.id)) === null, 'the job to be gone');
    assert.equal(await queue.client.exists(queue.toKey(`${gone.id}:logs`)), 0);
    for (let i = 0; i < 4; i++) {
      await becomes(await add({ removeOnComplete: 2 }), 'completed');
    }
    assert.equal(await queue.getCompletedCount(), 2);
    const failed = await add({ removeOnFail: true }, 'another-job');
    await eventually(async () => (await queue.getJob(failed.id)) === null, 'the failed job to be gone');
    await becomes(await add({ removeOnFail: { age: 3600, count: 1 } }, 'another-job'), 'failed');
    await becomes(await add({ removeOnFail: { age: 3600, count: 1 } }, 'another-job'), 'failed');
    assert.equal(await queue.getFailedCount(), 1);
  });

  it('bull_contract_timeout: an attempt that takes too long', async (t) => {
    const queue = ground.queue(t);
    const data = await ground.order();
    const job = await queue.add('process-order', data, { timeout: 60, attempts: 1 });
    await ground.worker(t, queue, { ROSREESTR_STUB_MS: '600000' });

    await becomes(job, 'failed');

    assert.equal((await queue.getJob(job.id)).failedReason, 'Promise timed out after 60 milliseconds');
    assert.equal((await ground.orderRow(data.orderId)).status, 'Ошибка: Promise timed out after 60 milliseconds');
  });

  it('bull_contract_pause: nothing is taken until the queue is resumed', async (t) => {
    const queue = ground.queue(t);
    await ground.worker(t, queue);
    const resumed = once(queue, 'global:resumed');
    await queue.pause();
    const job = await queue.add('process-order', await ground.order(), { removeOnComplete: 100 });
    assert.equal(await queue.getPausedCount(), 1);
    const other = ground.queue(t);
    await ground.worker(t, other, { ROSREESTR_USER_NAME: 'user-2' });
    // Time in which another queue's worker has looked and worked.
    const marker = await other.add('process-order', await ground.order(), { removeOnComplete: 100 });
    await becomes(marker, 'completed');
    assert.equal(await job.getState(), 'paused');

    await queue.resume();

    await within(resumed, 'the event');
    await becomes(job, 'completed');
  });

  it('bull_contract_stalled: a worker that is killed loses its job to another', async (t) => {
    const queue = ground.queue(t, { settings: { stalledInterval: 500 } });
    const stalled = [];
    queue.on('global:stalled', (id) => stalled.push(id));
    await queue.isReady();
    const times = { BULL_LOCK_MS: '1000', BULL_STALLED_MS: '500' };
    const data = await ground.order();
    const job = await queue.add('process-order', data, { removeOnComplete: 100 });
    const frozen = await ground.worker(t, queue, { ...times, ROSREESTR_STUB_MS: '600000' });
    await eventually(() => lock(queue, job.id), 'the lock');
    await frozen.kill();

    await ground.worker(t, queue, { ...times, ROSREESTR_USER_NAME: 'user-2' });

    await becomes(job, 'completed');
    assert.deepEqual(stalled, [String(job.id)]);
    const [{ rosreestr_user_id: account }] = await ground.query('SELECT * FROM orders WHERE id = $1', [data.orderId]);
    const [{ username }] = await ground.query('SELECT * FROM rosreestr_users WHERE id = $1', [account]);
    assert.equal(username, 'user-2');
  });

  it('bull_contract_stalled: a job that loses its worker twice has failed', async (t) => {
    const queue = ground.queue(t);
    const times = { BULL_LOCK_MS: '1200', BULL_STALLED_MS: '300', ROSREESTR_STUB_MS: '600000' };
    const data = await ground.order();
    const job = await queue.add('process-order', data);
    for (const user of ['user-1', 'user-2']) {
      const worker = await ground.worker(t, queue, { ...times, ROSREESTR_USER_NAME: user });
      await eventually(() => lock(queue, job.id), 'the lock');
      await worker.kill();
      await eventually(async () => !(await lock(queue, job.id)), 'the lock to run out');
    }

    await ground.worker(t, queue, times);

    await becomes(job, 'failed');
    assert.equal((await queue.getJob(job.id)).failedReason, 'job stalled more than allowable limit');
    await eventually(async () => {
      const { status } = await ground.orderRow(data.orderId);
      return status === 'Ошибка: job stalled more than allowable limit';
    }, 'the status of the order');
  });

  it('bull_contract_stalled: the jobs of a worker in Node are recovered, and ours by it', async (t) => {
    const queue = ground.queue(t);
    const job = await queue.add('process-order', await ground.order(), { removeOnComplete: 100 });
    const node = nodeWorker(t, ground, queue, 'hang');
    await node.line('took');
    node.child.kill('SIGKILL');
    const times = { BULL_LOCK_MS: '1000', BULL_STALLED_MS: '300' };
    const ours = await ground.worker(t, queue, times);
    await becomes(job, 'completed');
    await ours.stop();

    const second = await queue.add('process-order', await ground.order(), { removeOnComplete: 100 });
    const frozen = await ground.worker(t, queue, { ...times, ROSREESTR_STUB_MS: '600000' });
    await eventually(() => lock(queue, second.id), 'the lock');
    await frozen.kill();
    nodeWorker(t, ground, queue, 'work');

    await becomes(second, 'completed');
    assert.deepEqual((await queue.getJob(second.id)).returnvalue, { node: true });
  });

  it('bull_contract_locks: a job that takes longer than its lock is done once', async (t) => {
    const queue = ground.queue(t);
    const times = { BULL_LOCK_MS: '1500', BULL_STALLED_MS: '500', ROSREESTR_STUB_MS: '4000' };
    const job = await queue.add('process-order', await ground.order(), { removeOnComplete: 100 });
    await ground.worker(t, queue, times);
    await ground.worker(t, queue, { ...times, ROSREESTR_USER_NAME: 'user-2' });

    await becomes(job, 'completed');

    const stored = await queue.client.hgetall(queue.toKey(job.id));
    assert.equal(stored.stalledCounter, undefined);
  });

  it('bull_contract_ghosts: ids without jobs and jobs without sense do no harm', async (t) => {
    const queue = ground.queue(t);
    await queue.isReady();
    await queue.client.lpush(queue.toKey('wait'), 'ghost', 'ghost-2');
    await queue.client.hset(queue.toKey('half'), 'name', 'process-order');
    await queue.client.lpush(queue.toKey('wait'), 'half');
    await queue.client.hset(queue.toKey('odd'), { data: '{"orderId":"1e999"', opts: '[[[', name: '\u0000' });
    await queue.client.lpush(queue.toKey('wait'), 'odd');
    const wrong = await queue.add('process-order', { orderId: 'x', cadNum: {}, userId: null }, { attempts: 3 });
    const good = await queue.add('process-order', await ground.order(), { removeOnComplete: 100 });

    await ground.worker(t, queue);

    await becomes(good, 'completed');
    await becomes(wrong, 'failed');
    assert.equal(await queue.client.exists(queue.toKey('ghost'), queue.toKey('half')), 0);
    assert.equal(await queue.client.llen(queue.toKey('active')), 0);
    assert.equal((await queue.getJob(wrong.id)).attemptsMade, 1);
  });

  it('bull_contract_board: Bull Board and getWorkers() see the worker and its jobs', async (t) => {
    const queue = ground.queue(t);
    const worker = await ground.worker(t, queue);
    const job = await queue.add('process-order', await ground.order(), { removeOnComplete: 100 });
    await becomes(job, 'completed');
    const failed = await queue.add('another-job', {});
    await becomes(failed, 'failed');
    const routes = boardRoutes(queue);

    const workers = await eventually(async () => {
      const found = await queue.getWorkers();
      return found.length > 0 && found;
    }, 'a worker in the list');
    const { queues } = await routes.queues({ query: { activeQueue: queue.name, page: '1' } });

    assert.equal(workers.length, 1);
    const [shown] = queues;
    assert.equal(shown.counts.completed, 1);
    assert.equal(shown.counts.failed, 1);
    const byId = new Map(shown.jobs.map((shownJob) => [String(shownJob.id), shownJob]));
    const completed = byId.get(String(job.id));
    assert.equal(completed.progress, 100);
    assert.match(completed.returnValue.rosreestrOrderNum, NUMBER);
    assert.equal(byId.get(String(failed.id)).failedReason, 'Missing process handler for job type another-job');
    assert.equal(await worker.stop(), 0);
  });

  it('bull_contract_prefix: a hash tag as the prefix, as a Redis Cluster needs it', async (t) => {
    const queue = ground.queue(t, { prefix: '{orders}' });
    await ground.worker(t, queue);

    const job = await queue.add('process-order', await ground.order(), { removeOnComplete: 100, delay: 20 });

    await becomes(job, 'completed');
    const keys = await queue.client.keys('*orders}*');
    assert.ok(keys.every((key) => key.startsWith(`{orders}:${queue.name}:`)), `${keys}`);
  });

  it('bull_contract_stop: the job in hand is finished, and the next is left', async (t) => {
    const queue = ground.queue(t);
    const worker = await ground.worker(t, queue, { ROSREESTR_STUB_MS: '2500' });
    const jobs = [];
    for (let i = 0; i < 2; i++) {
      jobs.push(await queue.add('process-order', await ground.order(), { removeOnComplete: 100 }));
    }
    await eventually(() => lock(queue, jobs[0].id), 'the lock');

    const code = await worker.stop();

    assert.equal(code, 0);
    assert.equal(await jobs[0].getState(), 'completed');
    assert.equal(await jobs[1].getState(), 'waiting');
    assert.equal(await queue.getActiveCount(), 0);
  });

  it('bull_contract_mixed: one worker in Node and two of ours do every job once', async (t) => {
    const queue = ground.queue(t);
    const count = 900;
    const [{ first }] = await ground.query(
      `WITH added AS (INSERT INTO orders (user_id, cad_num)
         SELECT 7, '77:01:0000000:200' FROM generate_series(1, $1) RETURNING id)
       SELECT min(id) AS first FROM added`,
      [count],
    );
    // Nobody begins before all are there.
    await queue.pause();
    await queue.addBulk(
      Array.from({ length: count }, (_, i) => ({
        name: 'process-order',
        data: { orderId: first + i, cadNum: '77:01:0000000:200', userId: 7 },
        opts: { removeOnComplete: count },
      })),
    );

    const node = nodeWorker(t, ground, queue, 'work');
    await ground.worker(t, queue);
    await ground.worker(t, queue, { ROSREESTR_USER_NAME: 'user-2' });
    await eventually(async () => (await queue.getWorkers()).length === 3, 'three workers');

    await queue.resume();

    await eventually(async () => (await queue.getCompletedCount()) === count, 'all jobs', 90_000);
    const jobs = await queue.getCompleted();
    const numbers = jobs.filter((job) => !job.returnvalue.node).map((job) => job.returnvalue.rosreestrOrderNum);
    const byNode = jobs.length - numbers.length;
    assert.equal(jobs.length, count);
    assert.equal(new Set(numbers).size, numbers.length);
    const placed = await ground.query(
      'SELECT rosreestr_user_id AS account, count(*)::int AS jobs FROM orders WHERE id >= $1 AND rosreestr_order_num = ANY($2) GROUP BY 1',
      [first, numbers],
    );
    assert.equal(placed.reduce((sum, { jobs }) => sum + jobs, 0), numbers.length);
    // Each has done its share, and Node no job that was one of ours.
    assert.ok(byNode > 0 && placed.length === 2, `${byNode} ${JSON.stringify(placed)}`);
    assert.equal(await node.count(), byNode);
    assert.deepEqual(await queue.getJobCounts(), {
      waiting: 0, active: 0, completed: count, failed: 0, delayed: 0, paused: 0,
    });
  });

  await Promise.all(tests);
});

async function waiting(queue) {
  return (await queue.getJobCounts()).waiting;
}

/** The token of whoever has a job. */
function lock(queue, id) {
  return queue.client.get(queue.toKey(`${id}:lock`));
}

/** What the server of Bull Board answers with, without a server. */
function boardRoutes(queue) {
  const routes = {};
  const adapter = new Proxy(
    {
      setQueues: (queues) => {
        routes.adapters = queues;
        return adapter;
      },
      setApiRoutes: (apiRoutes) => {
        const route = apiRoutes.find(({ route }) => [route].flat().includes('/api/queues'));
        routes.queues = async (request) => {
          const { body } = await route.handler({ queues: routes.adapters, params: {}, ...request });
          return body;
        };
        return adapter;
      },
    },
    { get: (target, name, proxy) => target[name] ?? (() => proxy) },
  );
  createBullBoard({ queues: [new BullAdapter(queue)], serverAdapter: adapter });
  return routes;
}

/** A worker in Node, in a process that can be killed. */
function nodeWorker(t, ground, queue, mode) {
  const program = fileURLToPath(new URL('./support/node_worker.mjs', import.meta.url));
  const child = spawn(process.execPath, [program, queue.name, queue.keyPrefix, String(ground.redisPort), mode], {
    stdio: ['pipe', 'pipe', 'inherit'],
  });
  t.after(() => child.kill('SIGKILL'));
  const lines = [];
  createInterface({ input: child.stdout }).on('line', (line) => lines.push(line));
  const line = (text) => eventually(() => lines.find((told) => told.startsWith(text)), `"${text}" of the worker in Node`);
  return {
    child,
    line,
    count: async () => {
      child.stdin.write('count\n');
      return Number((await line('count ')).split(' ')[1]);
    },
  };
}
