// The pages of the car service in Chromium, with the adapter behind them: what a board
// shows, a mechanic hears and a customer follows, and what they say without a connection.

import assert from 'node:assert/strict';
import { createHmac } from 'node:crypto';
import { test } from 'node:test';

import { startBackEnd } from './support/back_end.mjs';
import { FILES, startBrowser } from './support/browser.mjs';
import { startServer } from './support/server.mjs';

const JWT_SECRET = 'secret-of-the-tokens';
const WEBHOOK_TOKEN = 'what-the-order-service-sends';
const BOARD = { width: 1920, height: 1080 };
const PHONE = { width: 390, height: 844 };
// pusher-js gives an attempt that fails 15 s before it starts another one.
const PATIENCE_MS = 40_000;

let numbers = 100;

test('pages of the car service', { concurrency: 4 }, async (t) => {
  const [browser, scripts] = await Promise.all([startBrowser(t), startBackEnd(t, undefined, { files: FILES })]);
  const tests = [];
  const it = (name, run) => tests.push(t.test(name, (t) => run(t, new Hall(t, browser, scripts))));

  it('a board says since when it is offline, and comes back by itself', async (t, hall) => {
    await hall.open();
    await hall.create({ zone: 'workshop' });
    const page = await hall.page(`adapters/sto/board?lang=ru#token=${sign('display')}`);
    await page.waitForSelector('[data-state=shown][data-connection=live]');
    await hall.server.kill();
    await page.waitForSelector('[data-connection=offline]');
    assert.match(await page.textContent('#offline'), /^Нет связи с \d\d:\d\d\./);
    assert.ok(await page.isVisible('#waiting .number'), 'what was known stays');

    await hall.server.start();
    await page.waitForSelector('[data-connection=live]');
    assert.equal(await page.textContent('#offline'), '');
    const order = await hall.create({ zone: 'diagnostic' });
    await page.waitForSelector(`[data-order="${order.id}"]`);
  });

  it('a board shows who is called, who waits and who is ready', async (t, hall) => {
    await hall.open();
    const waiting = await hall.create({ zone: 'WORKSHOP', priority: 'VIP', vehicleMake: '<b>Lada</b>' });
    const called = await hall.create({ zone: 'reception' });
    const page = await hall.page(`adapters/sto/board?display=hall%2F1#token=${sign('display')}`);
    await page.waitForSelector(`[data-zone=workshop] [data-order="${waiting.id}"] .vip`);
    assert.equal(await page.getAttribute('html', 'lang'), 'en');
    assert.match(await page.textContent(`[data-order="${waiting.id}"]`), /<b>Lada<\/b>/);
    await page.getByText('Nobody is called at the moment').waitFor();

    await hall.change(called, 'in_progress', { bayNumber: '3' });
    await page.getByText('Bay 3').waitFor();
    assert.equal(await page.textContent('#call .number'), String(called.queueNumber));
    await hall.change(called, 'completed');
    await page.locator('#done', { hasText: String(called.queueNumber) }).waitFor();

    await hall.change(waiting, 'blocked');
    await page.waitForSelector(`[data-order="${waiting.id}"] .blocked`);
    // The filter is the server's: what it leaves out does not come at all.
    await page.click('#zones [data-zone=bodywork]');
    await page.waitForSelector('#empty:not([hidden])');
    assert.match(page.url(), /zones=bodywork/);
    await page.click('#zones [data-zone=bodywork]');
    await page.waitForSelector(`[data-order="${waiting.id}"]`);
  });

  it('a board with more orders than room says how many there are', async (t, hall) => {
    await hall.open();
    for (let count = 0; count < 12; count += 1) {
      await hall.create({ zone: 'workshop' });
      await hall.create({ zone: 'bodywork' });
    }
    const page = await hall.page(`adapters/sto/board?lang=ru#token=${sign('display')}`);
    const column = page.locator('[data-zone=workshop]:not(button)');
    await column.locator('.more').waitFor();
    const shown = await column.locator('li').count();
    assert.ok(shown >= 3, `${shown} orders are shown`);
    assert.equal(await column.locator('.more').textContent(), `+ ещё ${12 - shown}`);
    const cut = await page.locator('main :is(li, h2, .more):visible, header > :visible').evaluateAll((parts) =>
      parts.filter((part) => part.getBoundingClientRect().right > innerWidth || part.scrollWidth > part.clientWidth + 1)
        .map(({ textContent }) => textContent));
    assert.deepEqual(cut, []);
    assert.ok(await page.evaluate(() => document.documentElement.scrollHeight <= innerHeight));
    // Two centimetres on a screen that is 1.2 m wide: 5 m are no distance.
    const height = await page.$eval('#waiting .number', (number) => parseFloat(getComputedStyle(number).fontSize));
    assert.ok(height >= 64, `${height} px`);
  });

  it('a mechanic without a token is asked for it, and hears of the orders of the zone', async (t, hall) => {
    await hall.open();
    const earlier = await hall.create({ zone: 'workshop' });
    const page = await hall.page('adapters/sto/mechanic?zone=workshop');
    await page.getByText('This page needs an access token.').waitFor();
    await page.fill('#token', sign('display'));
    await page.keyboard.press('Enter');
    await page.getByText('This token is not accepted').waitFor();
    await page.fill('#token', sign(['mechanic', 'display']));
    await page.keyboard.press('Enter');
    await page.waitForSelector(`#waiting [data-order="${earlier.id}"]`);
    await page.waitForSelector('[data-count=colleagues] dd:text("1")');

    await hall.create({ zone: 'bodywork' });
    const order = await hall.create({ zone: 'workshop', workDescription: 'Замена колодок' });
    await page.getByText(`New order ${order.queueNumber}`).waitFor();
    await page.getByText('Замена колодок').waitFor();
    await hall.change(order, 'in_progress');
    await page.waitForSelector(`#in_progress [data-order="${order.id}"]`);
    await hall.change(order, 'completed');
    await page.waitForSelector('[data-count=finishedHere] dd:text("1")');
    assert.equal(await page.locator('.order').count(), 1);
  });

  it('a mechanic who is no display sees what comes from now on', async (t, hall) => {
    await hall.open();
    await hall.create({ zone: 'workshop' });
    const page = await hall.page(`adapters/sto/mechanic?lang=ru#token=${sign('mechanic')}`);
    await page.getByText('Заказы появляются с этого момента').waitFor();
    await page.getByText('Заказов нет').waitFor();
    const order = await hall.create({ zone: 'bodywork' });
    await page.waitForSelector(`[data-order="${order.id}"]`);
  });

  it('a customer follows their order on a telephone', async (t, hall) => {
    await hall.open();
    await hall.create({ zone: 'workshop' });
    const order = await hall.create({ zone: 'workshop', customerPhone: '+992 90 123-45-67' });
    const page = await hall.page(`queue/status/${order.id}?phone=992900000000&lang=ru`, PHONE);
    await page.getByText('Заказа с таким телефоном нет.').waitFor();
    await page.fill('#own-phone', '+992901234567');
    await page.keyboard.press('Enter');
    await page.locator('#number', { hasText: String(order.queueNumber) }).waitFor();
    assert.equal(await page.textContent('#ahead'), '1');
    assert.equal(await page.textContent('#wait'), '≈ 30 мин');
    // What is pressed is large enough, and within the reach of a thumb.
    const { y, height } = await page.locator('#cancel').boundingBox();
    assert.ok(height >= 48 && y > PHONE.height / 2, `${height} px at ${y}`);
    assert.ok(await page.evaluate(() => document.documentElement.scrollWidth <= innerWidth));
    await page.click('#cancel');
    await page.click('#stay');

    await page.waitForFunction(() => document.body.dataset.connection === 'live');
    await hall.change(order, 'in_progress');
    await page.waitForSelector('#status.in_progress');
    assert.ok(await page.isHidden('#cancel'));
    await hall.change(order, 'completed');
    await page.getByText('Ваш автомобиль готов.').waitFor();

    await page.click('#language');
    await page.getByText('Your car is ready.').waitFor();
  });

  it('the queue is joined from a QR code: what is missing is said', async (t, hall) => {
    await hall.open();
    const page = await hall.page('queue/status/?token=of-the-code', PHONE);
    await page.getByRole('textbox', { name: 'Telephone' }).fill('12');
    await page.getByRole('button', { name: 'Get a number' }).click();
    await page.getByText('with its country code').waitFor();
    const lost = await hall.page('queue/status/', PHONE);
    await lost.getByText('Scan the QR code at the reception').waitFor();
  });

  for (const scheme of ['light', 'dark']) {
    it(`words are legible where it is ${scheme}`, async (t, hall) => {
      await hall.open();
      const order = await hall.create({ zone: 'workshop', customerPhone: '+992901234567', priority: 'urgent' });
      const atWork = await hall.create({ zone: 'workshop' });
      await hall.change(atWork, 'in_progress');
      const blocked = await hall.create({ zone: 'workshop' });
      await hall.change(blocked, 'blocked', { blockedReason: 'No parts' });
      for (const [path, size] of [
        [`adapters/sto/board#token=${sign('display')}`, BOARD],
        [`adapters/sto/mechanic#token=${sign(['mechanic', 'display'])}`, PHONE],
        [`queue/status/${order.id}?phone=992901234567`, PHONE],
      ]) {
        const page = await hall.page(path, size, scheme);
        await page.waitForSelector('[data-state=shown]');
        const poor = await page.evaluate(poorContrast);
        assert.deepEqual(poor, [], path);
        const nameless = await page.locator('button:visible, input:visible, a:visible').evaluateAll((controls) =>
          controls.filter((control) => !control.textContent.trim() && !control.labels?.length).map(({ outerHTML }) => outerHTML));
        assert.deepEqual(nameless, [], path);
      }
    });
  }

  await Promise.all(tests);
});

/** One server with the car service, its order service and its visitors. */
class Hall {
  #t;
  #browser;
  #scripts;

  constructor(t, browser, scripts) {
    this.#t = t;
    this.#browser = browser;
    this.#scripts = scripts;
  }

  async open() {
    const tables = `[auth]
jwt_secret = "${JWT_SECRET}"
[adapters.sto]
enabled = true
webhook_token = "${WEBHOOK_TOKEN}"
pusher_js = "${this.#scripts}/pusher-8.6.0.js"
`;
    this.server = await startServer(this.#t, { tables });
  }

  /** Opens a page; whatever it complains of fails the test. */
  async page(path, size = BOARD, colorScheme = 'light') {
    const context = await this.#browser.newContext({ viewport: size, colorScheme, locale: 'en-GB' });
    context.setDefaultTimeout(PATIENCE_MS);
    const page = await context.newPage();
    const complaints = [];
    page.on('pageerror', ({ message }) => complaints.push(message));
    page.on('console', (message) => /Content Security Policy/.test(message.text()) && complaints.push(message.text()));
    this.#t.after(async () => {
      await context.close();
      assert.deepEqual(complaints, []);
    });
    await page.goto(`${this.server.url}/${path}`);
    return page;
  }

  async create(wishes) {
    numbers += 1;
    const order = {
      id: `order-${numbers}`,
      queueNumber: numbers,
      queueNumberInZone: numbers,
      vehicleMake: 'Lada',
      vehicleModel: 'Vesta',
      licensePlate: '1234 AA 01',
      customerPhone: '+992900000000',
      workType: 'repair',
      workDescription: 'Стук в подвеске',
      estimatedDurationMinutes: 60,
      priority: 'normal',
      createdAt: new Date().toISOString(),
      ...wishes,
      status: 'waiting',
    };
    await this.#tell('orders/created', { order });
    return order;
  }

  async change(order, newStatus, changes = {}) {
    const time = { in_progress: 'startedAt', completed: 'completedAt' }[newStatus] ?? 'updatedAt';
    Object.assign(order, changes, { status: newStatus, [time]: new Date().toISOString() });
    await this.#tell('orders/status-changed', { orderId: order.id, newStatus, order });
  }

  async #tell(path, body) {
    const answer = await fetch(`${this.server.url}/adapters/sto/v1/${path}`, {
      method: 'POST',
      headers: { 'content-type': 'application/json', 'x-webhook-token': WEBHOOK_TOKEN },
      body: JSON.stringify(body),
    });
    assert.equal(answer.status, 200, await answer.text());
  }
}

function sign(role) {
  const encode = (part) => Buffer.from(JSON.stringify(part)).toString('base64url');
  const claims = { sub: 'somebody', role, exp: Math.floor(Date.now() / 1_000) + 3_600 };
  const text = `${encode({ alg: 'HS256', typ: 'JWT' })}.${encode(claims)}`;
  return `${text}.${createHmac('sha256', JWT_SECRET).update(text).digest('base64url')}`;
}

/** Words of a page whose contrast is below 4.5 (3 for large ones), by WCAG 2. Runs in the page. */
function poorContrast() {
  const pen = document.createElement('canvas').getContext('2d', { willReadFrequently: true });
  const paint = (color) => {
    pen.clearRect(0, 0, 1, 1);
    pen.fillStyle = color;
    pen.fillRect(0, 0, 1, 1);
    return [...pen.getImageData(0, 0, 1, 1).data];
  };
  const luminance = ([r, g, b]) => {
    const [x, y, z] = [r, g, b].map((part) => (part / 255 <= 0.03928 ? part / 255 / 12.92 : ((part / 255 + 0.055) / 1.055) ** 2.4));
    return 0.2126 * x + 0.7152 * y + 0.0722 * z;
  };
  const ground = (element) => {
    for (let at = element; at; at = at.parentElement) {
      const color = paint(getComputedStyle(at).backgroundColor);
      if (color[3] === 255) {
        return color;
      }
    }
    return [255, 255, 255];
  };
  const poor = [];
  for (const element of document.body.querySelectorAll('*')) {
    const hasText = [...element.childNodes].some((node) => node.nodeType === Node.TEXT_NODE && node.data.trim());
    if (!hasText || !element.checkVisibility()) {
      continue;
    }
    const style = getComputedStyle(element);
    const [one, other] = [luminance(paint(style.color)), luminance(ground(element))];
    const contrast = (Math.max(one, other) + 0.05) / (Math.min(one, other) + 0.05);
    if (contrast < (parseFloat(style.fontSize) >= 24 ? 3 : 4.5)) {
      poor.push(`${element.textContent.trim()}: ${contrast.toFixed(2)}`);
    }
  }
  return poor;
}
