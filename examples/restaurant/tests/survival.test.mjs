// What a kitchen goes through: bad Wi-Fi, restarts, reloads, and a rush.

import assert from 'node:assert/strict';
import { test } from 'node:test';

import { eventually } from '../../../tests/sdk/support/within.mjs';
import { startRestaurant } from './support/restaurant.mjs';
import { startWifi } from './support/wifi.mjs';

for (const [what, leave] of [
  ['breaks off', (wifi) => wifi.off()],
  ['fades away', (wifi) => wifi.fade()],
]) {
  test(`a display whose Wi-Fi ${what} says so, keeps what is tapped, and misses nothing`, async (t) => {
    const { backEnd, open } = await startRestaurant(t);
    const wifi = await startWifi(t);
    const kitchen = await open('/kitchen', { wifi });
    const other = await open('/kitchen');
    await backEnd.order(1, [['burger'], ['fries']]);
    await kitchen.shows({ grill: ['T1 | 1× House burger | new'], fry: ['T1 | 1× French fries | new'] });

    leave(wifi);
    assert.match(await kitchen.isOffline(), /^Offline since \d\d:\d\d \(\d+:\d\d\)/);
    await kitchen.bump('burger', 'new');
    await kitchen.bump('burger', 'cooking');
    const meanwhile = await backEnd.order(2, [['risotto']]);
    await backEnd.move((await backEnd.ticketsOf(meanwhile))[0], 'cooking');
    const expected = { hot: ['T2 | 1× Mushroom risotto | cooking'], fry: ['T1 | 1× French fries | new'] };
    await other.shows({ grill: ['T1 | 1× House burger | new'], ...expected });
    await kitchen.shows({ fry: ['T1 | 1× French fries | new'], pass: ['T1 | 1× House burger | ready'] });
    assert.match(await kitchen.isOffline(), /1 step waits/);

    wifi.on();
    await kitchen.isLive();
    for (const screen of [kitchen, other]) {
      await screen.shows({ ...expected, pass: ['T1 | 1× House burger | ready'] });
    }
  });
}

test('what a display has missed arrives by itself, also while the back end does not answer', async (t) => {
  const { backEnd, open } = await startRestaurant(t);
  const wifi = await startWifi(t);
  const kitchen = await open('/kitchen', { wifi });
  await backEnd.order(1, [['burger']]);
  await kitchen.shows({ grill: ['T1 | 1× House burger | new'] });

  wifi.off();
  await kitchen.isOffline();
  const missed = await backEnd.order(2, [['fries']]);
  await backEnd.move((await backEnd.ticketsOf(missed))[0], 'cooking');
  await kitchen.page.route('**/api/changes?*', (route) => route.abort());
  wifi.on();
  await kitchen.page.waitForSelector('.ticket:has-text("T2")');

  await kitchen.page.unroute('**/api/changes?*');
  await kitchen.isLive();
  await kitchen.shows({
    grill: ['T1 | 1× House burger | new'],
    fry: ['T2 | 1× French fries | cooking'],
  });
});

test('displays find back by themselves when the server is restarted, and when it has crashed', async (t) => {
  const { server, backEnd, open } = await startRestaurant(t);
  const kitchen = await open('/kitchen');
  const waiter = await open('/waiter');
  for (const [table, end] of [[1, () => server.stop()], [2, () => server.kill()]]) {
    await end();
    for (const screen of [kitchen, waiter]) {
      await screen.isOffline();
    }
    await backEnd.order(table, [['burger']]);
    await server.start();

    for (const screen of [kitchen, waiter]) {
      await screen.isLive();
    }
    await kitchen.page.waitForSelector(`.ticket:has-text("T${table}")`);
    await waiter.page.waitForSelector(`[data-table="${table}"][data-state="waiting"]`);
  }
  // And they hear again what is new.
  await backEnd.order(3, [['fries']]);
  await kitchen.shows({
    grill: ['T1 | 1× House burger | new', 'T2 | 1× House burger | new'],
    fry: ['T3 | 1× French fries | new'],
  });
});

test('a display that is reloaded without network shows what it knew, and what was tapped is not lost', async (t) => {
  const { backEnd, open } = await startRestaurant(t);
  const wifi = await startWifi(t);
  const kitchen = await open('/kitchen', { wifi });
  await backEnd.order(1, [['burger', 2, 'no onions']]);
  await kitchen.shows({ grill: ['T1 | 2× House burger | no onions | new'] });
  await kitchen.page.evaluate(async () => {
    await navigator.serviceWorker.ready;
  });

  wifi.off();
  await kitchen.isOffline();
  await kitchen.bump('burger', 'new');
  await kitchen.shows({ grill: ['T1 | 2× House burger | no onions | cooking'] });
  await kitchen.page.reload();
  await kitchen.isOffline();
  await kitchen.shows({ grill: ['T1 | 2× House burger | no onions | cooking'] });

  wifi.on();
  await kitchen.isLive();
  await eventually(async () => (await backEnd.all()).tickets[0].status === 'cooking', 'the step that was kept');
  await kitchen.shows({ grill: ['T1 | 2× House burger | no onions | cooking'] });
});

test('an order that could not be sent stays on the tablet, and is one order when it is sent again', async (t) => {
  const { backEnd, open } = await startRestaurant(t);
  const wifi = await startWifi(t);
  const waiter = await open('/waiter', { wifi });
  await waiter.page.click('[data-table="7"]');
  await waiter.page.click('text=New order');
  await waiter.page.click('[data-item="caprese"] .name');
  // It reaches the kitchen, and the answer gets lost.
  await waiter.page.route('**/api/orders', async (route) => {
    await route.fetch();
    await route.abort();
  });
  await waiter.page.click('text=Send 1 to the kitchen');
  await waiter.page.waitForSelector('.problem:has-text("The order is kept here")');
  await waiter.page.unroute('**/api/orders');
  await waiter.page.reload();
  await waiter.page.click('[data-table="7"]');
  await waiter.page.click('text=New order');

  await waiter.page.click('text=Send 1 to the kitchen');

  await waiter.page.waitForSelector('.toasts li:has-text("Order 101 is in the kitchen")');
  assert.equal((await backEnd.all()).orders.length, 1);
});

test('200 orders at once: no ticket is lost and none is there twice, on any of three displays', async (t) => {
  const { backEnd, open } = await startRestaurant(t);
  const wifi = await startWifi(t);
  const displays = await Promise.all([
    open('/kitchen'),
    open('/kitchen'),
    open('/kitchen', { wifi }),
  ]);
  const dishes = ['ribeye', 'risotto', 'fries', 'caesar', 'apple-tart', 'lager'];
  // What a display shows at any moment must have no ticket twice.
  await Promise.all(
    displays.map(({ page }) =>
      page.evaluate(() => {
        window.twice = [];
        const look = () => {
          const ids = [...document.querySelectorAll('.ticket')].map(({ dataset }) => dataset.ticket);
          window.twice.push(...ids.filter((id, index) => ids.indexOf(id) !== index));
        };
        new MutationObserver(look).observe(document.querySelector('#root'), { childList: true, subtree: true });
      }),
    ),
  );

  let placed = 0;
  const place = async (number) => {
    const order = [[dishes[number % 6]], [dishes[(number * 5 + 1) % 6], 2]];
    await backEnd.order((number % 12) + 1, order, { requestId: `rush-order-${number}` });
    // Every third tablet does not get its answer and asks again.
    if (number % 3 === 0) {
      await backEnd.order((number % 12) + 1, order, { requestId: `rush-order-${number}` });
    }
    placed += 1;
    if (placed === 60) {
      wifi.off();
    }
    if (placed === 150) {
      wifi.on();
    }
  };
  for (let first = 0; first < 200; first += 8) {
    await Promise.all(Array.from({ length: 8 }, (_, index) => place(first + index)));
  }

  const { orders, tickets } = await backEnd.all();
  assert.equal(orders.length, 200);
  assert.equal(tickets.length, 400);
  assert.equal(new Set(tickets.map(({ ticketNumber }) => ticketNumber)).size, 400);
  const ids = tickets.map(({ documentId }) => documentId).sort();
  for (const display of displays) {
    await display.isLive();
    await eventually(async () => (await display.ticketIds()).length >= 400, 'all tickets on a display', 45_000);
    assert.deepEqual(await display.ticketIds(), ids);
    assert.deepEqual(await display.page.evaluate(() => window.twice), []);
    assert.deepEqual(display.errors, []);
  }
});
