// What a plan allows, seen by the stock clients of a restaurant (acceptance
// ros_quota_message, ros_quota_connections, ros_quota_day).

import assert from 'node:assert/strict';
import { test } from 'node:test';

import { Ears, client, codeOf, connect, reaches, serverSdk, subscribe } from './support/clients.mjs';
import { startServer } from './support/server.mjs';
import { emitted } from './support/within.mjs';

const SANDBOX = 'plan = "sandbox"\nover_quota = "refuse"';

test('an event above 10 kB is refused with 413, and the next one passes', async (t) => {
  const server = await startServer(t, { app: SANDBOX });
  const sdk = serverSdk(server);
  const ears = new Ears(await subscribe(await connect(t, server), 'kitchen'));

  await assert.rejects(sdk.trigger('kitchen', 'ticket.created', 'x'.repeat(10_241)), { status: 413 });
  await sdk.trigger('kitchen', 'ticket.created', 'x'.repeat(10_240));

  assert.equal((await ears.next('ticket.created')).data.length, 10_240);
});

test('the free plan has room for 100 clients; one more is told 4004 and stays away', async (t) => {
  const server = await startServer(t, { app: SANDBOX });
  const guests = await Promise.all(Array.from({ length: 100 }, () => connect(t, server)));

  const late = client(t, server);
  const error = await emitted(late.connection, 'error');

  assert.equal(codeOf(error), 4004);
  await reaches(late, 'disconnected');
  guests[0].disconnect();
  await connect(t, server);
});

test('above the messages of a day, publishing is refused with 403 and a reason', async (t) => {
  const server = await startServer(t, { app: SANDBOX, limits: 'messages_per_day = 4' });
  const sdk = serverSdk(server);
  const ears = new Ears(await subscribe(await connect(t, server), 'orders'));

  // Each costs two: the request, and its one delivery.
  for (const id of [1, 2]) {
    await sdk.trigger('orders', 'order.created', { id });
    assert.deepEqual((await ears.next('order.created')).data, { id });
  }

  await assert.rejects(sdk.trigger('orders', 'order.created', { id: 3 }), ({ status, body }) => {
    assert.equal(status, 403);
    assert.match(body, /daily.* quota exceeded/);
    return true;
  });
});
