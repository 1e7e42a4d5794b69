// How an application's tests see what it published, with a real server.

import assert from 'node:assert/strict';
import { after, before, beforeEach, test } from 'node:test';

import PusherClient from 'pusher-js';

import { startFanfare } from './fanfare.mjs';
import { createOrders } from './orders.mjs';

let fanfare;
let orders;

before(async () => {
  fanfare = await startFanfare();
  orders = createOrders({ ...fanfare, appId: fanfare.app_id });
});
after(() => fanfare.stop());
beforeEach(() => fanfare.forget());

test('the kitchen is told of an order', async () => {
  const order = await orders.take('soup');

  const [event] = await fanfare.events({ channel: 'kitchen', wait: 10 });

  assert.equal(event.name, 'order.created');
  assert.deepEqual(JSON.parse(event.data), order);
});

test('a display in the kitchen gets it', async () => {
  const display = new PusherClient(fanfare.key, {
    cluster: '',
    wsHost: fanfare.host,
    wsPort: fanfare.port,
    forceTLS: false,
    enabledTransports: ['ws'],
  });
  const created = new Promise((resolve) => display.subscribe('kitchen').bind('order.created', resolve));
  // No sleep: the log says when the display is there.
  await fanfare.events({ channel: 'kitchen', kind: 'subscribed', wait: 10 });

  const order = await orders.take('salad');

  assert.deepEqual(await created, order);
  display.disconnect();
});
