// What the back end sends: official `pusher` in its lifecycles, stock pusher-js as
// the listener. Acceptance: ros_lifecycle_script.

import assert from 'node:assert/strict';
import { createRequire } from 'node:module';
import { test } from 'node:test';

import { atEnd } from '../../../tests/sdk/support/cleanup.mjs';
import { APP, startServer } from '../../../tests/sdk/support/server.mjs';
import { within } from '../../../tests/sdk/support/within.mjs';
import { credentials, startBackEnd } from './support/back_end.mjs';

const Pusher = createRequire(import.meta.url)('pusher-js');

const CHANNELS = ['orders', 'kitchen', 'inventory', 'tables', 'alerts', 'table-5', 'station-grill', 'station-bar'];

/** Everything that the channels hear, in order. */
class Listener {
  heard = [];
  #wake = () => {};

  static async start(t, server, channels) {
    const pusher = new Pusher(APP.key, {
      cluster: '', wsHost: server.host, wsPort: server.port, forceTLS: false, enabledTransports: ['ws'],
    });
    atEnd(t, () => pusher.disconnect());
    const listener = new Listener();
    const ready = channels.map(
      (name) =>
        new Promise((resolve) => {
          const channel = pusher.subscribe(name);
          channel.bind('pusher:subscription_succeeded', resolve);
          channel.bind_global((event, data) => {
            if (!event.startsWith('pusher:')) {
              listener.heard.push({ channel: name, event, data });
              listener.#wake();
            }
          });
        }),
    );
    await within(Promise.all(ready), 'the subscriptions');
    return listener;
  }

  /** Takes the events of one kind from as many channels; the same data on all of them. */
  async take(event, ...channels) {
    const found = () => channels.map((name) => this.heard.find((one) => one.channel === name && one.event === event));
    const complete = (async () => {
      while (found().some((one) => one === undefined)) {
        await new Promise((resolve) => {
          this.#wake = resolve;
        });
      }
    })();
    const all = () => `${event} on ${channels}; heard: ${this.heard.map((one) => `${one.event} on ${one.channel}`)}`;
    await within(complete, all);
    const taken = found();
    this.heard = this.heard.filter((one) => !taken.includes(one));
    taken.forEach(({ data }) => assert.deepEqual(data, taken[0].data));
    const { timestamp, serverTimestamp, ...facts } = taken[0].data;
    assert.equal(Date.parse(timestamp), serverTimestamp);
    return facts;
  }
}

async function restaurant(t, environment = {}) {
  const server = await startServer(t);
  const backEnd = await startBackEnd(t, { ...credentials(server), ...environment });
  const listener = await Listener.start(t, server, CHANNELS);
  return { server, backEnd, listener };
}

test('an order is told to its table, its stations and the kitchen, with exactly these facts', async (t) => {
  const { backEnd, listener } = await restaurant(t);

  const order = await backEnd.order(5, [['ribeye', 2, 'rare'], ['espresso']]);
  const [steak, coffee] = await backEnd.ticketsOf(order);

  assert.deepEqual(await listener.take('order.created', 'orders', 'table-5'), {
    orderDocumentId: order.documentId, orderNumber: 101, tableNumber: 5, status: 'new', totalAmount: 57.8, itemCount: 3,
  });
  assert.deepEqual(await listener.take('ticket.created', 'kitchen', 'station-grill', 'table-5'), {
    ticketDocumentId: steak.documentId, ticketNumber: '101-1', station: 'grill', priority: 'normal', orderNumber: 101,
    tableNumber: 5, menuItemName: 'Ribeye steak',
  });
  assert.deepEqual(await listener.take('ticket.created', 'kitchen', 'station-bar', 'table-5'), {
    ticketDocumentId: coffee.documentId, ticketNumber: '101-2', station: 'bar', priority: 'normal', orderNumber: 101,
    tableNumber: 5, menuItemName: 'Espresso',
  });
  assert.deepEqual(await listener.take('table.status_changed', 'tables', 'table-5'), {
    tableNumber: 5, previousStatus: 'free', newStatus: 'occupied',
  });
  assert.deepEqual(listener.heard, []);
});

test('a takeaway order has no table, neither in the facts nor in the channels', async (t) => {
  const { backEnd, listener } = await restaurant(t);

  const order = await backEnd.order(null, [['espresso']]);

  assert.deepEqual(await listener.take('order.created', 'orders'), {
    orderDocumentId: order.documentId, orderNumber: 101, status: 'new', totalAmount: 2.8, itemCount: 1,
  });
  const ticket = await listener.take('ticket.created', 'kitchen', 'station-bar');
  assert.equal('tableNumber' in ticket, false);
  assert.deepEqual(listener.heard, []);
});

test('each step of a ticket is told, and what it makes of the order', async (t) => {
  const { backEnd, server, listener } = await restaurant(t);
  const order = await backEnd.order(5, [['ribeye']]);
  const ofOrder = await Listener.start(t, server, [`order-${order.documentId}`]);
  const [ticket] = await backEnd.ticketsOf(order);

  for (const [previousStatus, newStatus, orderStatus, orderBefore] of [
    ['new', 'cooking', 'preparing', 'new'],
    ['cooking', 'ready', 'ready', 'preparing'],
    ['ready', 'cooking', 'preparing', 'ready'],
    ['cooking', 'ready', 'ready', 'preparing'],
    ['ready', 'served', 'served', 'ready'],
  ]) {
    await backEnd.move(ticket, newStatus);

    const { elapsedSeconds, ...facts } = await listener.take('ticket.status_changed', 'kitchen', 'station-grill', 'table-5');
    assert.ok(Number.isInteger(elapsedSeconds) && elapsedSeconds >= 0);
    assert.deepEqual(facts, {
      ticketDocumentId: ticket.documentId, ticketNumber: '101-1', station: 'grill', previousStatus, newStatus, tableNumber: 5,
    });
    assert.deepEqual(await listener.take('item.status_changed', 'orders', 'table-5'), {
      ticketDocumentId: ticket.documentId, orderDocumentId: order.documentId, orderNumber: 101, tableNumber: 5,
      menuItemName: 'Ribeye steak', previousStatus, newStatus,
    });
    const changed = {
      orderDocumentId: order.documentId, orderNumber: 101, tableNumber: 5, status: orderStatus, previousStatus: orderBefore,
    };
    assert.deepEqual(await listener.take('order.updated', 'orders', 'table-5'), changed);
    assert.deepEqual(await ofOrder.take('order.updated', `order-${order.documentId}`), changed);
  }
});

test('a cancelled order is told to the kitchen, with its tickets and the reason', async (t) => {
  const { backEnd, listener } = await restaurant(t);
  const order = await backEnd.order(5, [['ribeye']]);

  await backEnd.ask('POST', `/api/orders/${order.documentId}/cancel`, { reason: 'the guests have left' });

  assert.deepEqual(await listener.take('order.cancelled', 'orders', 'kitchen', 'table-5'), {
    orderDocumentId: order.documentId, orderNumber: 101, tableNumber: 5, status: 'cancelled', reason: 'the guests have left',
  });
  const { newStatus } = await listener.take('ticket.status_changed', 'kitchen', 'station-grill', 'table-5');
  assert.equal(newStatus, 'cancelled');
});

test('low stock is told once for each degree, and a delivery with its supplier', async (t) => {
  const { backEnd, listener } = await restaurant(t);
  // 3.4 kg of salmon, 0.2 kg a portion, at least 1.5 kg.
  const cook = async (portions) => {
    const [ticket] = await backEnd.ticketsOf(await backEnd.order(5, [['salmon', portions]]));
    await backEnd.move(ticket, 'cooking');
  };

  await cook(10);
  assert.deepEqual(await listener.take('storage.low_stock', 'inventory', 'alerts'), {
    ingredientDocumentId: 'salmon', ingredientName: 'Salmon', currentStock: 1.4, minStock: 1.5, unit: 'kg', severity: 'warning',
  });
  await cook(1);
  await cook(4);
  const { currentStock, severity } = await listener.take('storage.low_stock', 'inventory', 'alerts');
  assert.deepEqual({ currentStock, severity }, { currentStock: 0.4, severity: 'critical' });

  const batch = { ingredientDocumentId: 'salmon', quantity: 5, supplierName: 'Fresh & Co' };
  const { documentId } = await backEnd.ask('POST', '/api/batches', batch);
  assert.deepEqual(await listener.take('storage.batch_received', 'inventory'), {
    batchDocumentId: documentId, ingredientName: 'Salmon', quantity: 5, unit: 'kg', supplierName: 'Fresh & Co',
  });
  const { ingredients } = await backEnd.all();
  assert.equal(ingredients.find(({ name }) => name === 'Salmon').currentStock, 5.4);
});

test('the kitchen is warned of a dish that becomes late, and told when it is', async (t) => {
  // Five minutes of the bar pass in three seconds.
  const { backEnd, listener } = await restaurant(t, { PACE: '100' });
  const [ticket] = await backEnd.ticketsOf(await backEnd.order(5, [['espresso']]));

  assert.deepEqual(await listener.take('timer.sla_warning', 'alerts', 'kitchen'), {
    type: 'ticket', resourceId: ticket.documentId, message: 'Espresso for table 5 is due soon', severity: 'warning',
  });
  assert.deepEqual(await listener.take('timer.sla_breach', 'alerts', 'kitchen'), {
    type: 'ticket', resourceId: ticket.documentId, message: 'Espresso for table 5 is late', severity: 'critical',
  });
});

test('a request that is repeated is one order, and a step that is repeated is one step', async (t) => {
  const { backEnd, listener } = await restaurant(t);
  const request = { requestId: 'one-and-the-same', tableNumber: 5, items: [{ menuItem: 'ribeye' }] };

  const [first, second] = await Promise.all([1, 2].map(() => backEnd.ask('POST', '/api/orders', request)));
  const [ticket] = await backEnd.ticketsOf(first);
  await backEnd.move(ticket, 'cooking');
  await backEnd.move(ticket, 'cooking');
  await backEnd.move(ticket, 'ready');

  assert.equal(first.documentId, second.documentId);
  await listener.take('ticket.created', 'kitchen', 'station-grill', 'table-5');
  for (const status of ['cooking', 'ready']) {
    const { newStatus } = await listener.take('ticket.status_changed', 'kitchen', 'station-grill', 'table-5');
    assert.equal(newStatus, status);
  }
  // Events keep their order, so after this one nothing more of the above can come.
  await backEnd.ask('POST', '/api/batches', { ingredientDocumentId: 'beef', quantity: 1 });
  await listener.take('storage.batch_received', 'inventory');
  assert.deepEqual(listener.heard.filter(({ channel }) => channel === 'kitchen'), []);
});

test('what cannot be is refused in words', async (t) => {
  const backEnd = await startBackEnd(t, {});
  const order = { requestId: 'a-request', tableNumber: 5, items: [{ menuItem: 'ribeye' }] };
  for (const [change, error] of [
    [{ requestId: undefined }, 'requestId is missing'],
    [{ tableNumber: 99 }, 'there is no such table'],
    [{ tableNumber: '5; DROP TABLE "order"' }, 'there is no such table'],
    [{ items: [] }, 'an order has 1 to 30 items'],
    [{ items: [{ menuItem: 'unicorn' }] }, 'there is no such dish on the menu'],
    [{ items: [{ menuItem: 'ribeye', quantity: -1 }] }, 'quantity is 1 to 50'],
    [{ items: [{ menuItem: 'ribeye', note: 'x'.repeat(201) }] }, 'note is a text of at most 200 characters'],
    [{ priority: 'now!' }, 'priority is normal or high'],
  ]) {
    assert.deepEqual(await backEnd.request('POST', '/api/orders', { ...order, ...change }), { status: 400, content: { error } });
  }

  const placed = await backEnd.order(5, [['ribeye']]);
  const [ticket] = await backEnd.ticketsOf(placed);
  const refused = [
    ['PUT', `/api/tickets/${ticket.documentId}`, { status: 'burnt' }, 400],
    ['PUT', '/api/tickets/nobody', { status: 'ready' }, 404],
    ['POST', '/api/tables/5/pay', {}, 409],
    ['POST', '/api/tables/99/pay', {}, 400],
    ['POST', '/api/batches', { ingredientDocumentId: 'beef', quantity: 'much' }, 400],
    ['GET', '/api/secrets', undefined, 404],
  ];
  for (const [method, path, body, status] of refused) {
    assert.equal((await backEnd.request(method, path, body)).status, status, `${method} ${path}`);
  }
  const { orders } = await backEnd.all();
  assert.equal(orders.length, 1);
});

test('without credentials, and with a server that is away, orders are taken all the same', async (t) => {
  const silent = await startBackEnd(t, {});
  const alone = await startBackEnd(t, credentials({ host: '127.0.0.1', port: 1 }));

  for (const backEnd of [silent, alone]) {
    const order = await backEnd.order(5, [['ribeye']]);
    assert.equal((await backEnd.ticketsOf(order)).length, 1);
  }

  assert.ok(silent.lines.includes('Pusher is not configured: no events are sent'));
});

test('the settings for pages hold the key and never the secret', async (t) => {
  const server = await startServer(t);
  const backEnd = await startBackEnd(t, credentials(server));

  const settings = await backEnd.ask('GET', '/settings.json');

  assert.deepEqual(settings, { key: APP.key, cluster: '', isHosted: false, host: '', port: server.port, tls: false, wsUrl: '' });
});

test('a restarted back end goes on where it was', async (t) => {
  const backEnd = await startBackEnd(t, {});
  const order = await backEnd.order(5, [['ribeye']]);
  const before = await backEnd.all();

  await backEnd.stop();
  await backEnd.start();

  const after = await backEnd.ask('GET', `/api/changes?origin=${before.origin}&since=${before.version}`);
  assert.deepEqual([after.isSnapshot, after.tickets], [false, []]);
  const next = await backEnd.order(5, [['espresso']]);
  assert.equal(next.orderNumber, order.orderNumber + 1);
  assert.ok(next.version > before.version);
});
