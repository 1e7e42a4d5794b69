// Every page of the console, on a server with two apps, 201 clients and events that go
// on: what it shows, that it can be read and used by everybody, and on a phone.

import assert from 'node:assert/strict';
import { once } from 'node:events';
import { readFile } from 'node:fs/promises';
import { createServer } from 'node:http';
import { test } from 'node:test';

import { atEnd } from '../../../../tests/sdk/support/cleanup.mjs';
import { eventually } from '../../../../tests/sdk/support/within.mjs';
import { ADMIN, APP, looksAt, open, SECOND, SECRET, startBrowser, startConsole } from './support/console.mjs';
import { RUNNERS, runSnippet } from './support/snippets.mjs';
import { startTraffic } from './support/traffic.mjs';

/** A back end that takes every webhook. */
async function startReceiver(t) {
  const bodies = [];
  const server = createServer(async (request, response) => {
    bodies.push(Buffer.concat(await request.toArray()).toString());
    response.writeHead(200).end();
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  atEnd(t, () => {
    server.closeAllConnections();
    server.close();
  });
  return { bodies, url: `http://127.0.0.1:${server.address().port}/hook` };
}

test('every page, with traffic', async (t) => {
  const receiver = await startReceiver(t);
  const server = await startConsole(t, {
    app: `webhooks = [{ url = "${receiver.url}", events = ["client_event", "member_added"] }]
history = [{ channels = "orders-*" }]
subscription_count = true`,
    limits: 'messages_per_day = 1000000',
  });
  const { cook, clients } = await startTraffic(t, server);
  const browser = await startBrowser(t);
  const ann = await open(browser, server);
  const { page } = ann;
  await ann.sees('The first account');
  await ann.begin(server, ADMIN);

  await t.test('overview: figures, charts, quota and CSV', async () => {
    const connections = page.locator('.figure', { hasText: 'Connections' }).locator('dd');
    await eventually(async () => Number((await connections.first().innerText()).split(/\s/)[0]) >= 201, '201 connections');
    assert.equal(await page.locator('.chart canvas').count(), 6);
    await page.getByLabel('App', { exact: true }).selectOption(APP.id);
    await page.getByText('Messages of today (UTC)').waitFor();
    await page.getByRole('tab', { name: '30 days' }).click();
    await page.getByRole('tab', { name: '30 days', selected: true }).waitFor();
    const saving = page.waitForEvent('download');
    await page.getByRole('button', { name: 'Export CSV' }).click();
    const table = await readFile(await (await saving).path(), 'utf8');
    const lines = table.trim().split('\r\n');
    assert.equal(lines.length, 1 + 720);
    assert.match(lines[0], /^time,connections_peak,/);
    await page.getByRole('tab', { name: 'Hour' }).click();
    await looksAt(ann, 'overview');
  });

  await t.test('debug console: filters, pause, details, hidden data', async () => {
    await ann.goes('debug', 'Debug console');
    await page.locator('.feed li', { hasText: 'order.created' }).first().waitFor();
    await page.getByLabel('App', { exact: true }).selectOption('');
    await page.locator('.feed li', { hasText: 'headline' }).first().waitFor();
    await page.getByLabel('App', { exact: true }).selectOption(APP.id);
    await page.getByLabel('Channel').fill('orders-*');
    await page.getByLabel('Text').fill('borscht');
    await eventually(async () => {
      const rows = await page.locator('.feed li').allInnerTexts();
      return rows.length > 3 && rows.every((row) => row.includes('orders-') && row.includes('borscht'));
    }, 'rows of the filter only');
    await page.getByRole('button', { name: 'Pause' }).click();
    await page.locator('.feed li button').first().click();
    const details = page.locator('.feed .details');
    assert.match(await details.innerText(), /"items": \[/);
    await looksAt(ann, 'debug');
    await page.getByRole('button', { name: 'Clear' }).click();
    await page.getByText('Nothing has happened').waitFor();

    await page.getByLabel('Text').fill('');
    await page.getByLabel('Channel').fill('');
    await page.getByLabel('Kind').selectOption('client_event');
    await page.getByRole('button', { name: 'Go on' }).click();
    await page.locator('.feed li button', { hasText: 'client-bump' }).first().click();
    await page.getByText('The data is hidden').waitFor();
    await page.getByLabel('Kind').selectOption('webhook');
    await page.locator('.feed li', { hasText: 'HTTP 200' }).first().waitFor();
  });

  await t.test('debug console: errors with the text that the client got', async () => {
    await page.getByLabel('Kind').selectOption('client_error');
    await page.getByText('Live', { exact: true }).waitFor();
    // Until the feed is there, what happens is not seen.
    const error = page.locator('.feed li', { hasText: /client event/i });
    await eventually(async () => {
      clients[0].send_event('client-x', { a: 1 }, 'news');
      return (await error.count()) > 0;
    }, 'the error');
    assert.ok((await error.first().innerText()).includes(clients[0].connection.socket_id));
  });

  await t.test('debug console: clients that are not let in', async () => {
    await page.getByLabel('Kind').selectOption('turned_away');
    await page.getByLabel('App', { exact: true }).selectOption('');
    await page.getByText('Live', { exact: true }).waitFor();
    const { client } = await import('../../../../tests/sdk/support/clients.mjs');
    const refused = page.locator('.feed li', { hasText: 'nobody-knows-it' });
    await eventually(async () => {
      client(t, server, { key: 'nobody-knows-it' });
      return (await refused.count()) > 0;
    }, 'the refusal');
    assert.match(await refused.first().innerText(), /4001\s+App key nobody-knows-it not in this cluster.*127\.0\.0\.1/);
    await page.getByLabel('App', { exact: true }).selectOption(APP.id);
  });

  await t.test('event creator: sends, and shows the same in code', async () => {
    await ann.goes('publish', 'Event creator');
    const heard = new Promise((resolve) => cook.channel('presence-kitchen').bind('by-hand', resolve));
    await page.getByLabel('Channels').fill('presence-kitchen, orders-1');
    await page.getByLabel('Event').fill('by-hand');
    await page.getByLabel('Data').fill('{"id": ');
    await page.getByText('No JSON').waitFor();
    await page.getByLabel('Data').fill('{"id": 7}');
    await page.getByRole('button', { name: 'Send' }).click();
    await page.getByText('Accepted for channels: 2').waitFor();
    assert.deepEqual(await heard, { id: 7 });
    await looksAt(ann, 'publish');

    // What a shell or a language could take for something else must arrive as it is.
    const data = { text: `it's "5 #{1}" $HOME \\ %s Ж`, id: 7 };
    await page.getByLabel('Data').fill(JSON.stringify(data));
    await page.getByLabel('Event').fill("it's-in-code");
    const arrived = [];
    cook.channel('presence-kitchen').bind("it's-in-code", (value) => arrived.push(value));
    const languages = await page.getByRole('tablist', { name: 'The same in code' }).getByRole('tab').allInnerTexts();
    assert.deepEqual(languages, ['cURL', 'Node', 'PHP', 'Python', 'Ruby']);
    for (const language of languages) {
      await page.getByRole('tab', { name: language }).click();
      const text = await page.locator('pre').innerText();
      for (const value of [APP.id, APP.key, String(server.port), '127.0.0.1', 'presence-kitchen', 'orders-1', 's-in-code']) {
        assert.ok(text.includes(value), `${language} has no ${value}: ${text}`);
      }
      if (language in RUNNERS) {
        const before = arrived.length;
        await runSnippet(language, text, SECRET);
        await eventually(() => arrived.length > before, `the event of ${language}`);
        assert.deepEqual(arrived.at(-1), data, language);
      }
    }
    assert.equal(arrived.length, Object.keys(RUNNERS).length);
  });

  await t.test('channels: members, cached event and history', async () => {
    await ann.goes('channels', 'Channels');
    await page.getByLabel('Begins with').fill('presence');
    await page.getByRole('link', { name: 'presence-kitchen' }).waitFor();
    await eventually(async () => (await page.locator('tbody tr').count()) === 1, 'one row');
    await looksAt(ann, 'channels');
    await page.getByRole('link', { name: 'presence-kitchen' }).click();
    await page.getByText('zoë').waitFor();
    await ann.goes(`channels/${APP.id}/orders-1`, 'orders-1');
    await page.locator('.feed li button', { hasText: 'borscht' }).first().click();
    await page.locator('.details pre').waitFor();
    await looksAt(ann, 'channel');
  });

  await t.test('connections: what one is, and disconnecting it', async () => {
    const victim = clients[0];
    const socketId = victim.connection.socket_id;
    await ann.goes('connections', 'Connections');
    await page.getByRole('button', { name: 'Further' }).waitFor();
    await looksAt(ann, 'connections');
    await page.getByLabel('Socket id').fill(socketId);
    await page.getByRole('button', { name: 'Find' }).click();
    await ann.sees(socketId);
    await page.getByRole('link', { name: 'orders-0' }).waitFor();
    const facts = await page.locator('.facts').innerText();
    assert.match(facts, /js 8\.6\.0/);
    assert.match(facts, /WebSocket/);
    await looksAt(ann, 'connection');
    const closed = new Promise((resolve) => victim.connection.bind('error', ({ error, data }) => resolve((data ?? error?.data).code)));
    await page.getByRole('button', { name: 'Disconnect' }).click();
    await page.getByRole('button', { name: 'Yes' }).click();
    await page.getByText('The connection is closed').waitFor();
    assert.equal(await closed, 4009);
  });

  await t.test('apps: from nothing to the first client', async (t) => {
    await ann.goes('apps', 'Apps');
    await looksAt(ann, 'apps');
    await page.getByRole('button', { name: 'New app' }).click();
    await page.getByLabel('Id').fill('77');
    await page.getByRole('button', { name: 'Create' }).click();
    await page.getByText('never again').waitFor();
    const [key, secret] = await page.locator('dialog pre').allInnerTexts();
    assert.match(secret, /^[0-9a-f]{40}$/);
    await looksAt(ann, 'app-secret');
    await page.getByRole('button', { name: 'Close' }).click();
    await ann.sees('App 77');
    assert.ok(!(await page.content()).includes(secret));
    await page.getByText('Waiting for the first client').waitFor();
    assert.ok((await page.locator('pre').first().innerText()).includes(key));
    await looksAt(ann, 'app-start');
    for (const [list, languages] of [
      ['1. In the page', ['pusher-js', 'Laravel Echo']],
      ['2. In the back end', ['Laravel (.env)', 'Strapi', 'Node', 'PHP', 'Python']],
    ]) {
      const card = page.locator('.card', { has: page.getByRole('tablist', { name: list, exact: false }) });
      assert.deepEqual(await card.getByRole('tab').allInnerTexts(), languages);
      for (const language of languages) {
        await card.getByRole('tab', { name: language, exact: true }).click();
        const text = await card.locator('pre').innerText();
        for (const value of [key, String(server.port), '127.0.0.1', ...(list === '2. In the back end' ? ['77'] : [])]) {
          assert.ok(text.includes(value), `${language} has no ${value}: ${text}`);
        }
      }
    }

    const { connect, serverSdk } = await import('../../../../tests/sdk/support/clients.mjs');
    await connect(t, server, { key });
    await page.getByText('A client has connected').waitFor();
    await serverSdk(server, { appId: '77', key, secret }).trigger('orders', 'order.created', { id: 7 });
    await page.getByText('An event has arrived').waitFor();
  });

  await t.test('one app: keys, settings, webhooks and their log', async () => {
    await page.getByRole('tab', { name: 'Keys' }).click();
    await page.getByRole('button', { name: 'Add a key' }).click();
    await page.getByText('never again').waitFor();
    await page.getByRole('button', { name: 'Delete' }).last().click();
    await page.getByRole('button', { name: 'Yes' }).click();
    await eventually(async () => (await page.locator('tbody tr').count()) === 1, 'one key');
    await looksAt(ann, 'app-keys');

    await page.getByRole('tab', { name: 'Settings' }).click();
    await page.getByLabel('Client events', { exact: false }).first().check();
    await page.getByLabel('Connections', { exact: true }).fill('5');
    await page.getByLabel('Plan').selectOption('sandbox');
    await page.getByText('No channel keeps past events.').waitFor();
    await page.getByRole('button', { name: 'Add a rule' }).click();
    const rule = page.getByRole('group', { name: 'Rule 1' });
    await rule.getByLabel('Channels').fill('orders *');
    await page.getByRole('button', { name: 'Save' }).click();
    await page.getByRole('alert').filter({ hasText: 'orders *' }).waitFor();
    await rule.getByLabel('Channels').fill('orders-*');
    await rule.getByLabel('Newest events').fill('50');
    await page.getByRole('button', { name: 'Add a rule' }).click();
    await page.getByRole('group', { name: 'Rule 2' }).getByLabel('Channels').fill('*');
    await page.getByRole('group', { name: 'Rule 2' }).getByLabel('Client events too').check();
    await page.getByRole('button', { name: 'Save' }).click();
    await page.getByText('Saved').waitFor();
    const { body } = await ann.asks('GET', '/apps/77');
    const { settings } = JSON.parse(body);
    assert.deepEqual(settings.history, [
      { channels: 'orders-*', events: 50, seconds: 3600, bytes: 4194304, client_events: false },
      { channels: '*', events: 1000, seconds: 3600, bytes: 4194304, client_events: true },
    ]);
    assert.deepEqual([settings.client_events, settings.limits.connections, settings.plan], [true, 5, 'sandbox']);
    await looksAt(ann, 'app-settings');
    await page.getByRole('button', { name: 'Remove the rule' }).last().click();
    await page.getByRole('button', { name: 'Save' }).click();
    // The word of the first time still stands there.
    const rules = async () => JSON.parse((await ann.asks('GET', '/apps/77')).body).settings.history.length;
    await eventually(async () => (await rules()) === 1, 'one rule');

    await page.getByRole('tab', { name: 'Webhooks' }).click();
    await page.getByRole('button', { name: 'Add a webhook' }).click();
    await page.getByLabel('URL').fill(receiver.url);
    await page.getByLabel('Headers').fill('X-Token: precious');
    await looksAt(ann, 'app-webhook');
    await page.getByRole('button', { name: 'Save' }).click();
    await page.getByRole('button', { name: 'Test' }).click();
    await page.getByText('Taken: HTTP 200').waitFor();
    assert.ok(receiver.bodies.some((body) => body.includes('fanfare-test')));
    await looksAt(ann, 'app-webhooks');

    await ann.goes(`apps/${APP.id}/deliveries`, `App ${APP.id}`);
    await page.locator('.feed li button', { hasText: 'HTTP 200' }).first().click();
    await page.getByText('"client-bump"').first().waitFor();
    const before = receiver.bodies.length;
    await page.getByRole('button', { name: 'Send again' }).click();
    await eventually(() => receiver.bodies.length > before, 'the webhook once more');
    await looksAt(ann, 'app-deliveries');

    await ann.goes('apps/77/settings', 'App 77');
    await page.getByRole('button', { name: 'Delete the app' }).click();
    await page.getByRole('button', { name: 'Yes' }).click();
    await ann.sees('Apps');
    await page.getByRole('link', { name: SECOND.id }).waitFor();
    assert.equal(await page.getByRole('link', { name: '77', exact: true }).count(), 0);
  });

  await t.test('node', async () => {
    await ann.goes('nodes', 'Nodes');
    await page.getByText('Serving').waitFor();
    await page.getByRole('heading', { name: 'Past events and sessions' }).waitFor();
    await page.getByText('/ 268 MB').waitFor();
    await looksAt(ann, 'node');
  });

  await t.test('accounts and audit log', async () => {
    await ann.goes('accounts', 'Accounts');
    await page.getByRole('button', { name: 'New account' }).click();
    await page.getByRole('dialog').getByLabel('Name').fill('eve');
    await page.getByRole('dialog').getByLabel('Password').fill('battery staple');
    await page.getByRole('button', { name: 'Create' }).click();
    await page.getByRole('cell', { name: 'eve' }).waitFor();
    await looksAt(ann, 'accounts');
    await page.getByRole('row', { name: /ann/ }).getByRole('button', { name: 'Delete' }).click();
    await page.getByRole('button', { name: 'Yes' }).click();
    await page.getByRole('alert').filter({ hasText: 'last administrator' }).waitFor();
    await page.getByRole('row', { name: /eve/ }).getByRole('button', { name: 'Delete' }).click();
    await page.getByRole('button', { name: 'Yes' }).click();
    await page.getByRole('cell', { name: 'eve' }).waitFor({ state: 'detached' });

    await ann.goes('audit', 'Audit log');
    await page.getByText('DELETE /accounts/eve').waitFor();
    await page.getByText('PATCH /apps/77').first().waitFor();
    assert.ok(!(await page.content()).includes('precious'));
    await looksAt(ann, 'audit');
  });

  await t.test('in Russian and Ukrainian', async () => {
    await page.getByLabel('Language').selectOption('ru');
    await ann.goes('overview', 'Обзор');
    await ann.picture('overview-russian');
    await page.getByLabel('Язык').selectOption('uk');
    await ann.goes('apps', 'Застосунки');
    await page.reload();
    await ann.sees('Застосунки');
    assert.equal(await page.getAttribute('html', 'lang'), 'uk');
    await page.getByLabel('Мова').selectOption('en');
  });

  await t.test('a server that is gone, and one that is back', async () => {
    await ann.goes('nodes', 'Nodes');
    await server.kill();
    await page.getByRole('alert').filter({ hasText: 'cannot be reached' }).waitFor();
    await ann.picture('unreachable');
    await server.start();
    await page.getByRole('alert').waitFor({ state: 'detached' });
  });

  assert.deepEqual(ann.errors, []);
});
