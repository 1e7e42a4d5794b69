// The screens in Chromium, with everything behind them real: three displays, a
// waiter, a guest, the back end and the server. Acceptance: ros_kitchen_display,
// ros_raw_ws_fallback.

import assert from 'node:assert/strict';
import { test } from 'node:test';

import { APP } from '../../../tests/sdk/support/server.mjs';
import { startRestaurant } from './support/restaurant.mjs';

test('an order goes from the waiter over three displays to the guest, through all states', async (t) => {
  const { open } = await startRestaurant(t);
  const phone = { viewport: { width: 390, height: 844 }, hasTouch: true };
  const waiter = await open('/waiter', phone);
  const kitchen = await open('/kitchen');
  const grill = await open('/kitchen', { station: 'grill' });
  const pass = await open('/kitchen', { station: 'pass' });
  const board = await open('/board', { viewport: { width: 1920, height: 1080 } });
  const screens = [waiter, kitchen, grill, pass, board];
  await kitchen.page.waitForSelector('.nothing:has-text("All done")');

  // The waiter takes an order.
  await waiter.page.tap('[data-table="5"]');
  await waiter.page.tap('text=New order');
  await waiter.page.tap('[data-item="ribeye"] .name');
  await waiter.page.tap('[data-item="ribeye"] .name');
  await waiter.page.fill('[data-item="ribeye"] input', 'rare <b>&</b> no salt');
  await waiter.page.tap('[data-item="espresso"] .name');
  await waiter.page.tap('text=Send 3 to the kitchen · 57.80');
  await waiter.page.waitForSelector('.order[data-status="new"]');

  const steak = 'T5 | 2× Ribeye steak | rare <b>&</b> no salt';
  await kitchen.shows({ grill: [`${steak} | new`], bar: ['T5 | 1× Espresso | new'] });
  await grill.shows({ grill: [`${steak} | new`] });
  await board.page.waitForSelector('[data-kind="preparing"] li:text-is("101")');

  // The cooks cook.
  await grill.bump('Ribeye', 'new');
  await kitchen.shows({ grill: [`${steak} | cooking`], bar: ['T5 | 1× Espresso | new'] });
  await waiter.page.waitForSelector('.order[data-status="preparing"] li[data-status="cooking"]:has-text("Ribeye")');
  await kitchen.bump('Espresso', 'new');
  await kitchen.bump('Espresso', 'cooking');
  await pass.shows({ pass: ['T5 | 1× Espresso | ready'] });
  await grill.bump('Ribeye', 'cooking');
  await pass.shows({ pass: [`${steak} | ready`, 'T5 | 1× Espresso | ready'] });
  await grill.shows({});
  await board.page.waitForSelector('[data-kind="ready"] li:text-is("101")');

  // A wrong touch is taken back.
  await pass.bump('Espresso', 'ready');
  await kitchen.shows({ pass: [`${steak} | ready`] });
  await pass.page.click('.toasts button:text-is("Undo")');
  await kitchen.shows({ pass: [`${steak} | ready`, 'T5 | 1× Espresso | ready'] });

  // The waiter serves, and the guests pay.
  await waiter.page.tap('.order li:has-text("Espresso") .serve');
  await pass.shows({ pass: [`${steak} | ready`] });
  await waiter.page.tap('.order li:has-text("Ribeye") .serve');
  await kitchen.page.waitForSelector('.nothing');
  await board.page.waitForSelector('.nothing:has-text("Welcome")');
  await waiter.page.tap('text=Paid 57.80');
  await waiter.page.waitForSelector('text=Nothing ordered yet.');
  await waiter.page.tap('[aria-label="All tables"]');
  await waiter.page.waitForSelector('[data-table="5"][data-state="free"]');

  assert.deepEqual(screens.flatMap(({ errors }) => errors), []);
});

test('a cancelled order is crossed out until the cook has seen it, and rush goes first', async (t) => {
  const { backEnd, open } = await startRestaurant(t);
  const kitchen = await open('/kitchen');
  const order = await backEnd.order(5, [['burger']]);
  await backEnd.order(null, [['burger']], { priority: 'high' });
  await kitchen.shows({ grill: ['#102 | 1× House burger | new', 'T5 | 1× House burger | new'] });

  await backEnd.ask('POST', `/api/orders/${order.documentId}/cancel`, { reason: 'the guests have left' });

  await kitchen.shows({ grill: ['#102 | 1× House burger | new', 'T5 | 1× House burger | cancelled'] });
  await kitchen.page.waitForSelector('.toasts li:has-text("Order 101 is cancelled: the guests have left")');
  await kitchen.bump('burger', 'cancelled');
  await kitchen.shows({ grill: ['#102 | 1× House burger | new'] });
});

test('a display sounds for what is new, keeps its screen on, and remembers its station', async (t) => {
  const { backEnd, open } = await startRestaurant(t);
  await backEnd.order(1, [['burger'], ['fries']]);
  const kitchen = await open('/kitchen');
  const notes = () => kitchen.page.evaluate(() => window.notes);
  await kitchen.page.addInitScript(() => {
    window.notes = 0;
    window.locks = [];
    window.OscillatorNode = class extends OscillatorNode {
      start(...when) {
        window.notes += 1;
        super.start(...when);
      }
    };
    const request = navigator.wakeLock.request.bind(navigator.wakeLock);
    navigator.wakeLock.request = (kind) => {
      window.locks.push(kind);
      return request(kind);
    };
  });
  await kitchen.page.reload();
  await kitchen.isLive();
  // A touch, without which browsers are silent.
  await kitchen.page.click('.stations button:has-text("Grill")');
  await kitchen.shows({ grill: ['T1 | 1× House burger | new'] });

  await backEnd.order(2, [['fries']]);
  await kitchen.page.waitForSelector('.stations button:has-text("Fry"):has-text("2")');
  assert.equal(await notes(), 0, 'neither what was there nor what is for another station');
  await backEnd.order(3, [['burger']]);
  await kitchen.shows({ grill: ['T1 | 1× House burger | new', 'T3 | 1× House burger | new'] });
  assert.equal(await notes(), 2);
  await kitchen.page.click('[aria-label="Sound is on"]');
  await backEnd.order(4, [['burger']]);
  await kitchen.page.waitForSelector('.ticket:has-text("T4")');
  assert.equal(await notes(), 2);
  assert.ok((await kitchen.page.evaluate(() => window.locks)).includes('screen'));

  await kitchen.page.reload();
  await kitchen.page.waitForSelector('[aria-label="Sound is off"]');
  await kitchen.page.waitForSelector('.stations button[aria-pressed="true"]:has-text("Grill")');
});

test('a display fills the screen at a touch, and gives it back', async (t) => {
  const { open } = await startRestaurant(t);
  const kitchen = await open('/kitchen');
  const isFull = () => kitchen.page.evaluate(() => document.fullscreenElement !== null);

  await kitchen.page.click('[aria-label="Full screen"]');
  await kitchen.page.waitForSelector('[aria-label="Leave full screen"]');
  assert.equal(await isFull(), true);
  await kitchen.page.click('[aria-label="Leave full screen"]');
  await kitchen.page.waitForSelector('[aria-label="Full screen"]');
  assert.equal(await isFull(), false);
});

test('the stock page and the kitchen hear what runs low, and what comes in', async (t) => {
  const { backEnd, open } = await startRestaurant(t);
  const stock = await open('/stock');
  const kitchen = await open('/kitchen');
  const [ticket] = await backEnd.ticketsOf(await backEnd.order(5, [['salmon', 10]]));

  await backEnd.move(ticket, 'cooking');

  await stock.page.waitForSelector('.shelf[data-level="low"]:has-text("Salmon"):has-text("1.4")');
  for (const { page } of [stock, kitchen]) {
    await page.waitForSelector('.toasts li[data-tone="warning"]:has-text("Salmon: only 1.4 kg left")');
  }
  await stock.page.click('.shelf:has-text("Salmon") button');
  await stock.page.waitForSelector('.deliveries li:has-text("3 kg Salmon")');
  await stock.page.waitForSelector('.shelf[data-level="fine"]:has-text("Salmon"):has-text("4.4")');
});

test('without a key the screens use the plain WebSocket, and find back to it', async (t) => {
  const { server, backEnd, open } = await startRestaurant(t, {
    server: { tables: `[raw_ws]\nkey = "${APP.key}"` },
    environment: ({ host, port }) => ({ NEXT_PUBLIC_PUSHER_KEY: '', NEXT_PUBLIC_WS_URL: `ws://${host}:${port}/ws` }),
  });
  const kitchen = await open('/kitchen');
  const waiter = await open('/waiter');

  const order = await backEnd.order(5, [['burger', 2]]);
  await kitchen.shows({ grill: ['T5 | 2× House burger | new'] });
  await kitchen.bump('burger', 'new');
  await waiter.page.waitForSelector('[data-table="5"][data-state="waiting"]');
  await kitchen.bump('burger', 'cooking');
  await waiter.page.waitForSelector('.toasts li:has-text("House burger for table 5 is ready")');
  await waiter.page.waitForSelector('[data-table="5"][data-state="ready"]');

  await server.stop();
  await kitchen.isOffline();
  await backEnd.move((await backEnd.ticketsOf(order))[0], 'cooking');
  await server.start();
  await kitchen.isLive();
  await kitchen.shows({ grill: ['T5 | 2× House burger | cooking'] });
});
