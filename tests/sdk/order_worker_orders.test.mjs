// What the order worker does with orders, accounts and money, against a portal that stands
// in for the real one, with the real Redis, PostgreSQL and Fanfare.

import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { createCipheriv, createHmac, randomBytes, scryptSync } from 'node:crypto';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { createServer } from 'node:http';
import { createInterface } from 'node:readline';
import { test } from 'node:test';

import { FILES, startBrowser } from './support/browser.mjs';
import { atEnd } from './support/cleanup.mjs';
import { Ears, client, reaches } from './support/clients.mjs';
import { PASSWORD, SECRET, becomes, startGround } from './support/order_worker.mjs';
import { freePort } from './support/redis.mjs';
import { COOKIES, GATEWAY_TOKEN, startPortal } from './support/rosreestr.mjs';
import { APP, BINARY, startServer } from './support/server.mjs';
import { eventually, within } from './support/within.mjs';

const JWT_SECRET = 'secret-of-the-tokens';

test('orders', { concurrency: 6 }, async (t) => {
  const ground = await startGround(t);
  const tests = [];
  const it = (name, run) => tests.push(t.test(name, run));

  it('rr_user_missing_exit: what only the environment can change ends with 78', async (t) => {
    const queue = ground.queue(t);
    await ground.run(['users', 'add', 'sleeper'], { input: PASSWORD });
    await ground.run(['users', 'deactivate', 'sleeper']);
    const user = { BULL_QUEUE: queue.name, ROSREESTR_USER_NAME: 'user-1' };
    for (const [environment, expected] of [
      [{ ...user, ROSREESTR_USER_NAME: '' }, /ROSREESTR_USER_NAME is missing/],
      [{ ...user, ROSREESTR_USER_NAME: 'nobody' }, /"nobody" is not in the table.*SELECT id, username, is_active/],
      [{ ...user, ROSREESTR_USER_NAME: 'sleeper' }, /is not active.*UPDATE rosreestr_users SET is_active = true/],
      [{ ...user, ROSREESTR_CRYPTO_SECRET: '' }, /ROSREESTR_CRYPTO_SECRET is missing/],
      [{ ...user, ROSREESTR_CRYPTO_SECRET: 'changeme-changeme' }, /nobody can guess/],
      [{ ...user, ROSREESTR_CRYPTO_SECRET: 'another secret than before' }, /another ROSREESTR_CRYPTO_SECRET/],
      [{ ...user, DB_PORT: 'x' }, /DB_PORT = "x" is not valid: expected a port/],
      [{ ...user, ROSREESTR_CLIENT: 'gateway' }, /ROSREESTR_BASE_URL is missing/],
      [{ ...user, ROSREESTR_CA_FILE: '/nowhere/ca.pem' }, /ROSREESTR_CA_FILE.*ca\.pem/],
    ]) {
      const told = await ground.run([], { environment, code: 78 });
      assert.match(told, expected);
      assert.ok(!told.includes('changeme') && !told.includes('another secret than'), told);
    }
    // Somebody may start PostgreSQL in the meantime: that is another code.
    const told = await ground.run([], { environment: { ...user, DB_PORT: '1' }, code: 1 });
    assert.match(told, /PostgreSQL at 127.0.0.1:1/);
  });

  it('rr_migrate: beside tables that exist already, and again', async () => {
    await ground.query('CREATE DATABASE original');
    const environment = { DB_NAME: 'original' };
    const refused = await ground.run(['users', 'list'], { environment, code: 1 });
    assert.match(refused, /run `fanfare order-worker migrate`/);
    const original = ground.database('original');
    await original.query(`CREATE TABLE rosreestr_users (id serial PRIMARY KEY, username varchar(255) NOT NULL UNIQUE,
      password_encrypted text NOT NULL, gu_login varchar(255) NOT NULL, created_at timestamptz DEFAULT now(),
      updated_at timestamptz DEFAULT now())`);
    await original.query("INSERT INTO rosreestr_users (username, password_encrypted, gu_login) VALUES ('old', 'x', 'g')");

    await ground.run(['migrate'], { environment });
    await ground.run(['migrate'], { environment });

    await original.query(`INSERT INTO rosreestr_users (username, password_encrypted, comment, is_active) VALUES
      ('user1', 'a:b:c', 'one', true), ('user2', 'a:b:c', 'two', true), ('user3', 'a:b:c', 'three', true)`);
    const listed = await ground.run(['users', 'list', '--json'], { environment });
    const names = JSON.parse(listed).map(({ username, isActive }) => [username, isActive]);
    assert.deepEqual(names, [['old', true], ['user1', true], ['user2', true], ['user3', true]]);
    await original.end();
  });

  it('rr_status_sql: failed orders are found by their status, however long the reason', async (t) => {
    const queue = ground.queue(t);
    await ground.worker(t, queue);
    const wrong = await ground.order('77-01-1');
    const long = await ground.order('7'.repeat(255));
    const jobs = [
      await queue.add('process-order', wrong, { attempts: 3 }),
      await queue.add('process-order', { ...long, cadNum: '77:01:0000000:200' }),
    ];
    for (const job of jobs) {
      await becomes(job, 'failed');
    }

    const rows = await ground.query(
      `SELECT id, cad_num, status, comment, rosreestr_user_id FROM orders
       WHERE status LIKE 'Ошибка:%' AND id = ANY($1) ORDER BY id`,
      [[wrong.orderId, long.orderId]],
    );

    assert.deepEqual(rows.map(({ id }) => id), [wrong.orderId, long.orderId]);
    assert.equal(rows[0].status, 'Ошибка: "77-01-1" is not a cadastral number: expected NN:NN:NNNNNNN:N');
    assert.equal([...rows[1].status].length, 255);
    assert.ok(rows[1].status.endsWith('…'));
  });

  it('rr_decrypt_node_value: a password that a service in Node has sealed', async (t) => {
    const queue = ground.queue(t);
    const portal = await startPortal(t, { login: 'node-login', password: 'Пароль из Node' });
    await ground.query(
      "INSERT INTO rosreestr_users (username, password_encrypted, gu_login) VALUES ('node-user', $1, 'node-login')",
      [sealedByNode('Пароль из Node')],
    );
    await ground.worker(t, queue, { ...gateway(portal), ROSREESTR_USER_NAME: 'node-user' });
    const job = await queue.add('process-order', await ground.order(), { removeOnComplete: 100 });

    await becomes(job, 'completed');

    assert.deepEqual(portal.complaints, []);
    const told = await ground.run(['recrypt']);
    assert.match(told, /[1-9]\d* accounts were sealed anew/);
    const [{ password_encrypted: sealed }] = await ground.query(
      "SELECT password_encrypted FROM rosreestr_users WHERE username = 'node-user'",
    );
    assert.match(sealed, /^v1:[0-9a-f]{8}:/);
    const again = await queue.add('process-order', await ground.order(), { removeOnComplete: 100 });
    await becomes(again, 'completed');
    assert.deepEqual(portal.complaints, []);
  });

  for (const kind of ['gateway', 'cabinet']) {
    it(`rr_standin_scenarios: what the portal says, over the ${kind}`, async (t) => {
      const queue = ground.queue(t);
      const portal = await startPortal(t, { login: 'user-1', password: PASSWORD, slowMs: 2500 });
      const username = `of-the-${kind}`;
      await ground.run(['users', 'add', username, '--gu-login', 'user-1'], { input: PASSWORD });
      await ground.run(['users', 'set-session', username], { input: COOKIES });
      const times = { BULL_LOCK_MS: '1500', BULL_STALLED_MS: '500', ROSREESTR_TIMEOUT_MS: '10000' };
      await ground.worker(t, queue, {
        ...(kind === 'gateway' ? gateway(portal) : cabinet(portal)),
        ...times,
        ROSREESTR_USER_NAME: username,
      });
      const order = async (script, opts = {}) => {
        const data = await ground.order(`77:01:0000000:${script}`);
        const job = await queue.add('process-order', data, {
          removeOnComplete: 100, attempts: 5, backoff: 10, ...opts,
        });
        return { ...data, job };
      };
      const becomesStatus = (id, status) => {
        let row;
        return eventually(async () => {
          row = await ground.orderRow(id);
          return row.status === status && row;
        }, () => `${status}; it is ${row?.status}`);
      };

      const good = await order('200');
      const slow = await order('999');
      const unknown = await order('404');
      const failing = await order('500');
      const busy = await order('429');
      const poor = await order('402');
      const refused = await order('410');

      for (const { job } of [good, slow, unknown, failing, busy, refused]) {
        await becomes(job, 'completed');
      }
      const done = await becomesStatus(good.orderId, 'Файлы загружены');
      assert.ok(done.is_complete && done.completed_at && done.rosreestr_registered_at);
      assert.match(done.rosreestr_order_num, /^80-\d+$/);
      const [{ content }] = await ground.query('SELECT content FROM rosreestr_files WHERE order_id = $1', [good.orderId]);
      assert.ok(content.includes('<extract/>'));
      await becomesStatus(slow.orderId, 'Файлы загружены');
      assert.equal(portal.placedFor(slow.cadNum).length, 1);
      const none = await becomesStatus(unknown.orderId, 'Кадастровый номер не найден на портале');
      assert.ok(none.is_complete && none.rosreestr_order_num === null);
      assert.equal(portal.placedFor(unknown.cadNum).length, 0);
      await becomesStatus(failing.orderId, 'Файлы загружены');
      assert.equal((await queue.getJob(failing.job.id)).attemptsMade, 3);
      await becomesStatus(busy.orderId, 'Файлы загружены');
      assert.equal((await queue.getJob(busy.job.id)).attemptsMade, 0);
      await becomesStatus(poor.orderId, 'Недостаточно доступных заказов на балансе');
      assert.equal(await poor.job.getState(), 'failed');
      await becomesStatus(refused.orderId, 'Ошибка: the portal refuses: Отказ в предоставлении');
      for (const { cadNum } of [good, failing, busy, refused]) {
        assert.equal(portal.placedFor(cadNum).length, 1, cadNum);
      }
      assert.deepEqual(portal.complaints, []);
    });
  }

  for (const [script, what] of [['666', 'was placed'], ['667', 'was not placed']]) {
    it(`rr_kill: a worker dies while it orders; the order ${what}, and there is one in the end`, async (t) => {
      const queue = ground.queue(t);
      const portal = await startPortal(t, { password: PASSWORD });
      const times = { BULL_LOCK_MS: '1200', BULL_STALLED_MS: '300' };
      const data = await ground.order(`77:01:0000000:${script}`);
      const job = await queue.add('process-order', data, { removeOnComplete: 100 });
      const first = await ground.worker(t, queue, { ...gateway(portal), ...times });
      await eventually(() => portal.asked.includes('POST /orders'), 'the order to be on its way');
      await first.kill();
      const [begun] = await ground.query('SELECT * FROM rosreestr_placements WHERE order_id = $1', [data.orderId]);
      assert.equal(begun.order_num, null);

      await ground.worker(t, queue, { ...gateway(portal), ...times, ROSREESTR_USER_NAME: 'user-2' });

      await becomes(job, 'completed');
      assert.ok(portal.asked.includes('GET /orders'), 'it has asked');
      assert.equal(portal.placedFor(data.cadNum).length, 1);
      const row = await ground.orderRow(data.orderId);
      assert.equal(row.rosreestr_order_num, portal.placedFor(data.cadNum)[0].orderNum);
      // Who has paid fetches the document.
      const [{ username }] = await ground.query('SELECT * FROM rosreestr_users WHERE id = $1', [row.rosreestr_user_id]);
      assert.equal(username, script === '666' ? 'user-1' : 'user-2');
      await eventually(async () => (await ground.orderRow(data.orderId)).is_complete, 'the document');
    });
  }

  it('rr_slow: a portal that needs longer than it is given has one order in the end', async (t) => {
    const queue = ground.queue(t);
    const portal = await startPortal(t, { login: 'user-1', password: PASSWORD, slowMs: 1500 });
    const data = await ground.order('77:01:0000000:998');
    const job = await queue.add('process-order', data, { removeOnComplete: 100, attempts: 10, backoff: 300 });
    await ground.worker(t, queue, { ...gateway(portal), ROSREESTR_TIMEOUT_MS: '500' });

    await becomes(job, 'completed');

    assert.ok((await queue.getJob(job.id)).attemptsMade > 0, 'it was too slow once');
    assert.equal(portal.placedFor(data.cadNum).length, 1);
  });

  it('rr_frozen: a worker that was only frozen does not order a second time', async (t) => {
    const queue = ground.queue(t);
    const portal = await startPortal(t, { login: 'user-1', password: PASSWORD, slowMs: 2500 });
    const times = { BULL_LOCK_MS: '1000', BULL_STALLED_MS: '250' };
    const data = await ground.order('77:01:0000000:999');
    const job = await queue.add('process-order', data, { removeOnComplete: 100 });
    const frozen = await ground.worker(t, queue, { ...gateway(portal), ...times });
    await eventually(() => portal.asked.includes('POST /orders'), 'the order to be on its way');
    process.kill(frozen.pid, 'SIGSTOP');
    const second = await ground.worker(t, queue, { ...gateway(portal), ...times, ROSREESTR_USER_NAME: 'user-2' });
    await eventually(() => second.said('another worker has this order'), 'the guard to be seen');

    process.kill(frozen.pid, 'SIGCONT');

    await becomes(job, 'completed');
    assert.equal(portal.placedFor(data.cadNum).length, 1);
  });

  it('rr_shut_out: an account that is not let in pauses its worker, not its orders', async (t) => {
    const queue = ground.queue(t);
    const portal = await startPortal(t, { login: 'user-2', password: PASSWORD });
    const job = await queue.add('process-order', await ground.order(), { removeOnComplete: 100 });
    const stranger = await ground.worker(t, queue, gateway(portal));
    await eventually(() => stranger.said('does not let the account in'), 'the refusal');
    assert.equal(await job.getState(), 'waiting');

    await ground.worker(t, queue, { ...gateway(portal), ROSREESTR_USER_NAME: 'user-2' });

    await becomes(job, 'completed');
    assert.equal((await queue.getJob(job.id)).attemptsMade, 0);
  });

  it('rr_shut_out: an account of another worker that is not let in pauses nobody', async (t) => {
    const queue = ground.queue(t);
    const portal = await startPortal(t, { password: PASSWORD });
    for (const [username, cookies] of [['in', COOKIES], ['out', 'JSESSIONID=old']]) {
      await ground.run(['users', 'add', username], { input: PASSWORD });
      await ground.run(['users', 'set-session', username], { input: cookies });
    }
    const { orderId } = await ground.order();
    await ground.query(
      `UPDATE orders SET rosreestr_order_num = '80-1', rosreestr_user_id =
         (SELECT id FROM rosreestr_users WHERE username = 'out') WHERE id = $1`,
      [orderId],
    );
    const check = await queue.add('check-and-download-order', { orderId, rosreestrOrderNum: '80-1' });
    const worker = await ground.worker(t, queue, { ...cabinet(portal), ROSREESTR_USER_NAME: 'in' });
    await eventually(() => worker.said('does not let the account in'), 'the refusal');

    const job = await queue.add('process-order', await ground.order(), { removeOnComplete: 100 });

    await becomes(job, 'completed');
    assert.equal(await check.getState(), 'delayed');
  });

  for (const kind of ['gateway', 'cabinet']) {
    it(`rr_no_secret_in_logs: at the loudest level, through good and bad, over the ${kind}`, async (t) => {
      const queue = ground.queue(t);
      const portal = await startPortal(t, { login: 'user-3', password: PASSWORD });
      await ground.run(['users', 'set-session', 'user-3'], { input: COOKIES });
      const worker = await ground.worker(t, queue, {
        ...(kind === 'gateway' ? gateway(portal) : cabinet(portal)),
        ROSREESTR_USER_NAME: 'user-3',
        LOG_LEVEL: 'trace',
      });
      for (const script of ['200', '500', '404']) {
        const data = await ground.order(`77:01:0000000:${script}`);
        await becomes(await queue.add('process-order', data, { attempts: 5, backoff: 10, removeOnComplete: 100 }), 'completed');
      }
      await worker.stop();

      const log = worker.log.join('\n');
      assert.ok(worker.log.length > 50, `only ${worker.log.length} lines`);
      for (const secret of [PASSWORD, JSON.stringify(PASSWORD), SECRET, GATEWAY_TOKEN, 'cookie-of-the-cabinet']) {
        assert.ok(!log.includes(secret), `the log has ${secret}`);
      }
      const told = await ground.run(['doctor'], { environment: { ROSREESTR_USER_NAME: 'user-3' }, code: 1 });
      assert.ok(!told.includes(PASSWORD) && !told.includes(SECRET));
    });
  }

  it('rr_live: people who look on see orders, workers and the queue', async (t) => {
    const queue = ground.queue(t);
    const server = await startServer(t, { tables: authTables() });
    const admin = client(t, server, { channelAuthorization: authorization(server, { sub: 1, role: 'ADMIN' }) });
    const owner = client(t, server, { channelAuthorization: authorization(server, { sub: 7, role: 'USER' }) });
    await Promise.all([reaches(admin, 'connected'), reaches(owner, 'connected')]);
    const orders = await subscribed(admin, 'private-rosreestr-orders');
    const workers = await subscribed(admin, 'private-rosreestr-workers');
    const own = await subscribed(owner, 'private-rosreestr-user;7');
    await assert.rejects(subscribed(owner, 'private-rosreestr-user;8'), /403/);
    await assert.rejects(subscribed(owner, 'private-rosreestr-orders'), /403/);
    for (let i = 0; i < 2; i++) {
      await becomesFailed(queue, ground, t);
    }
    const worker = await ground.worker(t, queue, { ...publishing(server), ORDER_WORKER_ALERT_FAILED: '2' });
    const data = await ground.order();
    const job = await queue.add('process-order', data, { removeOnComplete: 100, attempts: 3 });
    await becomes(job, 'completed');

    assert.equal((await workers.next('worker.up')).data.rosreestrUserName, 'user-1');
    assert.equal((await workers.next('worker.busy')).data.jobId, String(job.id));
    await workers.next('worker.idle');
    const begun = (await orders.next('order.status_changed')).data;
    const ended = (await orders.next('order.status_changed')).data;
    const { _eid: eid, timestamp, ...rest } = ended;
    assert.equal(begun.status, 'В обработке');
    assert.deepEqual(rest, {
      orderId: data.orderId,
      cadNum: data.cadNum,
      status: 'Выполнен',
      rosreestrUserId: (await ground.orderRow(data.orderId)).rosreestr_user_id,
      rosreestrOrderNum: (await ground.orderRow(data.orderId)).rosreestr_order_num,
      attempt: 1,
      maxAttempts: 3,
      isComplete: true,
    });
    assert.ok(Date.parse(timestamp) > 0);
    await own.next('order.status_changed');
    assert.equal((await own.next('order.status_changed')).data._eid, eid);
    const counts = (await workers.next('queue.counts')).data;
    assert.equal(counts.failed, 2);
    assert.equal((await workers.next('alert')).data.failed, 2);
    await worker.stop();
    await workers.next('worker.down');
  });

  it('rr_api_crud: accounts over HTTP, for administrators', async (t) => {
    const queue = ground.queue(t);
    const api = await startApi(t, ground, queue);
    const admin = token({ sub: 1, role: 'ADMIN' });
    const call = (method, path, body, bearer = admin) => api.call(method, path, body, bearer);

    for (const bearer of [null, 'a.b.c', token({ sub: 1, role: 'ADMIN' }, 'guessed')]) {
      assert.equal((await call('GET', '/rosreestr-users', undefined, bearer)).status, 401);
    }
    assert.equal((await call('GET', '/rosreestr-users', undefined, token({ sub: 1, role: 'USER' }))).status, 403);
    const added = await call('POST', '/rosreestr-users', {
      username: 'api-user', password: 'secret1', guLogin: 'g', comment: 'c',
    });
    assert.equal(added.status, 201);
    const { id, ...shown } = added.body;
    assert.deepEqual(shown, {
      username: 'api-user', guLogin: 'g', comment: 'c', isActive: true, hasSession: false,
    });
    assert.equal((await call('POST', '/rosreestr-users', { username: 'api-user', password: 'secret1' })).status, 409);
    for (const [body, message] of [
      [{ username: 'x', password: 'short' }, /password must have 6/],
      [{ username: '', password: 'secret1' }, /username must have/],
      [{ password: 'secret1' }, /missing field `username`/],
      [{ username: 'x', password: 'secret1', admin: true }, /unknown field `admin`/],
      [{ username: 'x', password: { precious: 1 } }, /wrong type/],
    ]) {
      const refused = await call('POST', '/rosreestr-users', body);
      assert.equal(refused.status, 400);
      assert.match(refused.body.message, message);
      assert.ok(!refused.body.message.includes('precious'));
    }
    const all = await call('GET', '/rosreestr-users');
    assert.ok(all.body.some(({ username }) => username === 'api-user'));
    assert.equal((await call('GET', `/rosreestr-users/${id}`)).body.username, 'api-user');
    assert.equal((await call('GET', '/rosreestr-users/by-username/api-user')).body.id, id);
    assert.equal((await call('GET', '/rosreestr-users/999999')).status, 404);
    assert.equal((await call('GET', '/rosreestr-users/x')).status, 400);
    const [{ password_encrypted: before }] = await row(id);
    const changed = await call('PUT', `/rosreestr-users/${id}`, { password: 'another1', comment: 'd' });
    assert.deepEqual([changed.status, changed.body.comment, changed.body.guLogin], [200, 'd', 'g']);
    const [{ password_encrypted: after }] = await row(id);
    assert.ok(before !== after && after.startsWith('v1:'));
    assert.equal((await call('PATCH', `/rosreestr-users/${id}`, { username: 'other' })).status, 400);
    assert.equal((await call('POST', `/rosreestr-users/${id}/session`, { cookies: 'a=b' })).body.hasSession, true);
    const off = await call('DELETE', `/rosreestr-users/${id}`);
    assert.deepEqual([off.status, off.body], [200, { success: true }]);
    const [{ is_active: isActive, deleted_at: deletedAt }] = await row(id);
    assert.deepEqual([isActive, deletedAt], [false, null]);
    assert.equal((await call('POST', `/rosreestr-users/${id}/activate`)).body.isActive, true);
    assert.equal((await call('PUT', '/rosreestr-users')).status, 405);
    assert.equal((await call('GET', '/elsewhere')).status, 404);
    const large = await call('POST', '/rosreestr-users', { username: 'x'.repeat(100_000), password: 'secret1' });
    assert.equal(large.status, 413);
    const told = JSON.stringify([all.body, changed.body, added.body]) + api.log.join('\n');
    for (const secret of ['secret1', 'another1', after, 'a=b']) {
      assert.ok(!told.includes(secret), secret);
    }

    function row(id) {
      return ground.query('SELECT * FROM rosreestr_users WHERE id = $1', [id]);
    }
  });

  it('rr_api_retry: failed orders are shown and tried again', async (t) => {
    const queue = ground.queue(t);
    const api = await startApi(t, ground, queue);
    const admin = token({ sub: 1, role: ['ADMIN'] });
    const call = (method, path) => api.call(method, path, undefined, admin);
    await ground.worker(t, queue);
    const data = await ground.order();
    // An order that has another number by now than its job.
    await ground.query("UPDATE orders SET cad_num = 'another' WHERE id = $1", [data.orderId]);
    const kept = await queue.add('process-order', data);
    await becomes(kept, 'failed');
    const failed = await call('GET', '/orders/failed');
    assert.ok(failed.body.some(({ id, cadNum }) => id === data.orderId && cadNum === 'another'));
    await ground.query('UPDATE orders SET cad_num = $2 WHERE id = $1', [data.orderId, data.cadNum]);

    const retried = await call('POST', `/orders/${data.orderId}/retry`);

    assert.deepEqual([retried.status, retried.body.jobId], [202, String(kept.id)]);
    await eventually(async () => (await ground.orderRow(data.orderId)).is_complete, 'the order');
    assert.equal((await call('POST', `/orders/${data.orderId}/retry`)).status, 409);
    assert.equal((await call('POST', '/orders/999999/retry')).status, 404);
    const forgotten = await ground.order();
    await ground.query("UPDATE orders SET status = 'Ошибка: x' WHERE id = $1", [forgotten.orderId]);
    assert.equal((await call('POST', `/orders/${forgotten.orderId}/retry`)).status, 202);
    await eventually(async () => (await ground.orderRow(forgotten.orderId)).is_complete, 'the new job');
    const state = await call('POST', '/queue/pause');
    assert.equal(state.body.isPaused, true);
    assert.equal(await queue.isPaused(), true);
    assert.equal((await call('POST', '/queue/resume')).body.isPaused, false);
    assert.equal((await call('GET', `/orders/${data.orderId}/file`)).status, 404);
  });

  it('rr_page: an administrator sees orders fail, tries one again, and pauses the queue', async (t) => {
    const queue = ground.queue(t);
    const scripts = createServer(async (request, response) => {
      response.end(await FILES[request.url].body());
    });
    scripts.listen(0, '127.0.0.1');
    await once(scripts, 'listening');
    atEnd(t, () => scripts.close());
    const apiPort = await freePort();
    const origin = `http://127.0.0.1:${apiPort}`;
    const server = await startServer(t, { tables: authTables(origin) });
    const api = await startApi(t, ground, queue, {
      ...publishing(server),
      ORDER_WORKER_PORT: String(apiPort),
      PUSHER_JS_URL: `http://127.0.0.1:${scripts.address().port}/pusher-8.6.0.js`,
    });
    await ground.worker(t, queue, publishing(server));
    const browser = await startBrowser(t);
    const page = await browser.newPage();
    const troubles = [];
    page.on('pageerror', (error) => troubles.push(error.message));
    await page.goto(`${api.url}/admin`);
    await page.fill('#token', 'a.b.c');
    await page.click('#enter');
    await page.waitForFunction(() => document.querySelector('#state').textContent.startsWith('Unauthorized'));
    await page.fill('#token', token({ sub: 1, role: 'ADMIN' }));
    await page.click('#enter');
    await page.waitForFunction(() => document.querySelector('#state').textContent === 'live');
    const data = await ground.order();
    await ground.query("UPDATE orders SET cad_num = '<b>x</b>' WHERE id = $1", [data.orderId]);
    const job = await queue.add('process-order', data);

    const row = page.locator(`#failed tr[data-order="${data.orderId}"]`);
    await row.waitFor();
    assert.match(await row.innerText(), /<b>x<\/b>/);
    await page.locator('#workers', { hasText: 'user-1' }).waitFor();
    await ground.query('UPDATE orders SET cad_num = $2 WHERE id = $1', [data.orderId, data.cadNum]);
    await row.getByRole('button', { name: 'Try again' }).click();

    await becomes(job, 'completed');
    await row.waitFor({ state: 'detached' });
    await page.waitForFunction(() => document.querySelector('#count-completed')?.textContent === '1');
    await page.click('#pause');
    await page.waitForFunction(() => document.querySelector('#pause').textContent === 'Resume the queue');
    assert.equal(await queue.isPaused(), true);
    assert.deepEqual(troubles, []);
  });

  it('rr_doctor: says what works, and what to do about the rest', async (t) => {
    const queue = ground.queue(t);
    const environment = { BULL_QUEUE: queue.name, ROSREESTR_USER_NAME: 'user-1' };
    await ground.worker(t, queue);
    await becomes(await queue.add('process-order', await ground.order(), { removeOnComplete: 100 }), 'completed');

    const well = await ground.run(['doctor'], { environment });

    assert.match(well, /ok {4}queue .*: 0 waiting, 0 active, 0 delayed, 1 completed, 0 failed/);
    assert.match(well, /ok {4}1 workers are connected/);
    assert.match(well, /ok {4}newest job: 1, of 20/);
    assert.match(well, /ok {4}account "user-1" is active/);
    await queue.pause();
    const paused = await ground.run(['doctor'], { environment: { ...environment, ROSREESTR_USER_NAME: 'x' }, code: 1 });
    assert.match(paused, /BAD {3}the queue is paused/);
    assert.match(paused, /BAD {3}account "x" is not in the table/);
    const lost = await ground.run(['doctor'], { environment: { ...environment, REDIS_PORT: '1', DB_PORT: '1' }, code: 1 });
    assert.match(lost, /BAD {3}Redis does not answer/);
    assert.match(lost, /BAD {3}PostgreSQL at/);
  });

  it('rr_metrics: the figures of a worker, and its health', async (t) => {
    const queue = ground.queue(t);
    const worker = await ground.worker(t, queue, { ORDER_WORKER_PORT: '0' });
    const line = worker.said('metrics and health');
    const url = `http://${JSON.parse(line).address}`;
    await becomes(await queue.add('process-order', await ground.order(), { removeOnComplete: 100 }), 'completed');

    const text = await eventually(async () => {
      const text = await (await fetch(`${url}/metrics`)).text();
      return text.includes('bull_job_attempts_total{result="completed"} 1') && text;
    }, 'the job in the figures');

    for (const file of ['orders.yml', 'orders.json']) {
      const named = readFileSync(new URL(`../../docs/monitoring/${file}`, import.meta.url), 'utf8');
      for (const [name] of named.matchAll(/\b(bull|rosreestr)_[a-z_]+/g)) {
        assert.match(text, new RegExp(`^${name}[{ ]`, 'm'), `${name} of ${file}`);
      }
    }
    assert.match(text, /bull_jobs\{state="waiting"\} \d/);
    assert.match(text, /bull_job_seconds_count 1/);
    assert.match(text, /rosreestr_requests_total\{op="confirm",status="ok"\} 1/);
    assert.equal((await fetch(`${url}/ready`)).status, 200);
    assert.equal((await fetch(`${url}/elsewhere`)).status, 404);
  });

  await Promise.all(tests);
});

/** As the services in Node seal passwords. */
function sealedByNode(password) {
  const iv = randomBytes(16);
  const cipher = createCipheriv('aes-256-gcm', scryptSync(SECRET, 'salt', 32), iv);
  const sealed = Buffer.concat([cipher.update(password, 'utf8'), cipher.final()]);
  return [iv, cipher.getAuthTag(), sealed].map((part) => part.toString('base64')).join(':');
}

const gateway = (portal) => ({
  ROSREESTR_CLIENT: 'gateway',
  ROSREESTR_BASE_URL: portal.url,
  ROSREESTR_GATEWAY_TOKEN: GATEWAY_TOKEN,
  ROSREESTR_INTERVAL_MS: '1',
  ROSREESTR_POLL_MS: '50',
});

const cabinet = (portal) => ({
  ROSREESTR_CLIENT: 'cabinet',
  ROSREESTR_BASE_URL: portal.url,
  ROSREESTR_INTERVAL_MS: '1',
  ROSREESTR_POLL_MS: '50',
});

const publishing = (server) => ({
  PUSHER_APP_ID: APP.id,
  PUSHER_APP_KEY: APP.key,
  PUSHER_APP_SECRET: APP.secret,
  PUSHER_HOST: server.host,
  PUSHER_PORT: String(server.port),
});

/** The example's configuration of Fanfare; pages of `origin` may ask. */
function authTables(origin = 'http://127.0.0.1:5004') {
  const example = readFileSync(new URL('../../examples/orders/fanfare.toml', import.meta.url), 'utf8');
  return example
    .replace('http://127.0.0.1:5004', origin)
    .replace('enabled = true', `enabled = true\njwt_secret = "${JWT_SECRET}"`);
}

function token(claims, secret = JWT_SECRET) {
  const part = (value) => Buffer.from(JSON.stringify(value)).toString('base64url');
  const exp = Math.floor(Date.now() / 1000) + 600;
  const text = `${part({ alg: 'HS256', typ: 'JWT' })}.${part({ exp, ...claims })}`;
  return `${text}.${createHmac('sha256', secret).update(text).digest('base64url')}`;
}

function authorization(server, claims) {
  return {
    endpoint: `${server.url}/pusher/auth`,
    transport: 'ajax',
    headers: { Authorization: `Bearer ${token(claims)}` },
  };
}

/** What is heard on a channel; a refusal is an error. */
function subscribed(pusher, name) {
  const channel = pusher.subscribe(name);
  const ears = new Ears(channel);
  return within(
    new Promise((resolve, reject) => {
      channel.bind('pusher:subscription_succeeded', () => resolve(ears));
      channel.bind('pusher:subscription_error', (error) => reject(new Error(JSON.stringify(error))));
    }),
    `the subscription to ${name}`,
  );
}

/** A job that fails at once. */
async function becomesFailed(queue, ground, t) {
  const job = await queue.add('another-job', {});
  const worker = await ground.worker(t, queue);
  await becomes(job, 'failed');
  await worker.stop();
}

/** `order-worker api` on a free port. */
async function startApi(t, ground, queue, environment = {}) {
  const child = spawn(BINARY, ['order-worker', 'api'], {
    env: { ...ground.environment, BULL_QUEUE: queue.name, JWT_SECRET, ORDER_WORKER_PORT: '0', ...environment },
    stdio: ['ignore', 'ignore', 'pipe'],
  });
  const log = [];
  createInterface({ input: child.stderr }).on('line', (line) => log.push(line));
  atEnd(t, async () => {
    const ended = once(child, 'exit');
    if (child.exitCode === null) {
      child.kill('SIGTERM');
      await within(ended, 'the API to end');
    }
  });
  const line = await eventually(() => log.find((told) => told.includes('api listens')), () => `the API: ${log}`);
  const url = `http://${JSON.parse(line).address}`;
  return {
    url,
    log,
    call: async (method, path, body, bearer) => {
      const answer = await fetch(url + path, {
        method,
        headers: bearer ? { Authorization: `Bearer ${bearer}` } : {},
        body: body === undefined ? undefined : JSON.stringify(body),
      });
      const text = await answer.text();
      return { status: answer.status, body: text ? JSON.parse(text) : undefined };
    },
  };
}
