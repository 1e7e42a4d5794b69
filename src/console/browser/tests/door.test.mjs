// Who comes in, from where, and what each may do: in real browsers.

import assert from 'node:assert/strict';
import { once } from 'node:events';
import { createServer } from 'node:http';
import { test } from 'node:test';

import { atEnd } from '../../../../tests/sdk/support/cleanup.mjs';
import { ADMIN, APP, invitation, open, startBrowser, startConsole, VIEWER } from './support/console.mjs';

async function withAdmin(t, settings) {
  const server = await startConsole(t, settings);
  const browser = await startBrowser(t);
  const ann = await open(browser, server);
  await ann.begin(server, ADMIN);
  return { server, browser, ann };
}

test('the link of the log makes one account, and signing in and out works', async (t) => {
  const { server, browser, ann } = await withAdmin(t);

  const stranger = await open(browser, server, `#/begin/${await invitation(server)}`);
  await stranger.sees('Sign in');
  await stranger.picture('sign-in');
  assert.deepEqual(await stranger.stumbles(), []);
  await stranger.page.getByLabel('Name').fill(ADMIN.name);
  await stranger.page.getByLabel('Password').fill('battery staple');
  await stranger.page.getByRole('button', { name: 'Sign in' }).click();
  await stranger.page.getByRole('alert').filter({ hasText: 'name or password is wrong' }).waitFor();
  await stranger.signIn(ADMIN);

  await ann.page.getByRole('button', { name: 'Sign out' }).click();
  await ann.sees('Sign in');
  assert.equal((await ann.asks('GET', '/apps')).status, 401);
  assert.deepEqual(stranger.errors, []);
});

test('a session that ends elsewhere leads back to the door', async (t) => {
  const { server, browser, ann } = await withAdmin(t);
  await ann.page.getByRole('link', { name: 'Accounts' }).click();
  await ann.page.getByRole('button', { name: 'New account' }).click();
  await ann.page.getByRole('dialog').getByLabel('Name').fill(VIEWER.name);
  await ann.page.getByRole('dialog').getByLabel('Password').fill(VIEWER.password);
  await ann.page.getByRole('button', { name: 'Create' }).click();
  const bob = await open(browser, server);
  await bob.signIn(VIEWER);

  const row = ann.page.getByRole('row', { name: /bob/ });
  await row.getByRole('button', { name: 'Delete' }).click();
  await row.getByRole('button', { name: 'Yes' }).click();

  await bob.page.getByText('Your session is over').waitFor();
});

test('a viewer sees everything and can change nothing', async (t) => {
  const { server, browser, ann } = await withAdmin(t);
  await ann.page.getByRole('link', { name: 'Accounts' }).click();
  await ann.page.getByRole('button', { name: 'New account' }).click();
  await ann.page.getByRole('dialog').getByLabel('Name').fill(VIEWER.name);
  await ann.page.getByRole('dialog').getByLabel('Password').fill(VIEWER.password);
  await ann.page.getByRole('button', { name: 'Create' }).click();
  await ann.page.getByRole('cell', { name: VIEWER.name }).waitFor();
  const bob = await open(browser, server);
  await bob.signIn(VIEWER);

  for (const [where, heading] of [
    ['debug', 'Debug console'],
    ['publish', 'Event creator'],
    ['channels', 'Channels'],
    ['connections', 'Connections'],
    ['apps', 'Apps'],
    [`apps/${APP.id}/settings`, `App ${APP.id}`],
    ['nodes', 'Nodes'],
    ['accounts', 'Accounts'],
    ['audit', 'Audit log'],
  ]) {
    await bob.goes(where, heading);
  }
  await bob.goes('publish', 'Event creator');
  assert.ok(await bob.page.getByRole('button', { name: 'Send' }).isDisabled());
  await bob.goes('apps', 'Apps');
  assert.equal(await bob.page.getByRole('button', { name: 'New app' }).count(), 0);
  // Whatever the page offers, the server decides.
  const { body } = await bob.asks('GET', '/session');
  const headers = { 'x-fanfare-page': JSON.parse(body).page_token };
  const event = { name: 'x', channels: ['news'], data: '1' };
  assert.equal((await bob.asks('POST', `/apps/${APP.id}/events`, event, headers)).status, 403);
  assert.equal((await bob.asks('DELETE', `/accounts/${ADMIN.name}`, undefined, headers)).status, 403);
  assert.deepEqual(bob.errors, []);
});

test('a page on another port cannot act with the cookie', async (t) => {
  const { server, ann } = await withAdmin(t);
  // The same host, so that the browser takes it for the same site and sends the cookie.
  const seen = [];
  const foreign = createServer((request, response) => {
    seen.push(request.headers.cookie ?? '');
    response.writeHead(200, { 'content-type': 'text/html' }).end('<!doctype html><title>another page</title>');
  });
  foreign.listen(0, '127.0.0.1');
  await once(foreign, 'listening');
  atEnd(t, () => {
    foreign.closeAllConnections();
    foreign.close();
  });
  const page = await ann.page.context().newPage();
  await page.goto(`http://127.0.0.1:${foreign.address().port}/`);
  assert.ok(seen[0].includes('fanfare_console='), 'the cookie goes to this page too');

  const target = `${server.url}/admin/v1/apps/${APP.id}/events`;
  const event = JSON.stringify({ name: 'stolen', channels: ['news'], data: '1' });
  const outcome = await page.evaluate(
    async ({ target, event }) => {
      // Without CORS the answer cannot be read; what counts is what the server did.
      const form = await fetch(target, { method: 'POST', mode: 'no-cors', credentials: 'include', body: event });
      const read = await fetch(target.replace(/\/apps.*/, '/apps'), { credentials: 'include' }).catch((error) => error.name);
      return { form: form.type, read };
    },
    { target, event },
  );

  assert.deepEqual(outcome, { form: 'opaque', read: 'TypeError' });
  const { body } = await ann.asks('GET', `/apps/${APP.id}/statistics`);
  assert.equal(JSON.parse(body).now.api_events, 0);
  const audit = await ann.asks('GET', '/audit');
  assert.ok(!audit.body.includes('/events'), audit.body);
});

test('with default credentials nobody signs in, and the page says so', async (t) => {
  const server = await startConsole(t, { secret: APP.secret });
  const browser = await startBrowser(t);
  const person = await open(browser, server);

  await person.sees('Overview');
  await person.page.getByText('Open to this machine without sign-in').waitFor();
  await person.goes('accounts', 'Accounts');
  await person.page.getByRole('button', { name: 'New account' }).click();
  await person.page.getByRole('dialog').getByLabel('Name').fill(ADMIN.name);
  await person.page.getByRole('dialog').getByLabel('Password').fill(ADMIN.password);
  await person.page.getByLabel('Role').selectOption('admin');
  await person.page.getByRole('button', { name: 'Create' }).click();

  await person.sees('Sign in');
  await person.signIn(ADMIN, 'Accounts');
  assert.deepEqual(person.errors, []);
});

test('everything can be reached with the keyboard', async (t) => {
  const { ann } = await withAdmin(t);
  const { page } = ann;
  await page.reload();
  await ann.sees('Overview');

  await page.keyboard.press('Tab');
  assert.equal(await page.evaluate(() => document.activeElement.textContent), 'To the page');
  await page.keyboard.press('Enter');
  assert.equal(await page.evaluate(() => document.activeElement.tagName), 'MAIN');
  const day = page.getByRole('tab', { name: 'Hour' });
  await day.focus();
  await page.keyboard.press('ArrowRight');
  await page.getByRole('tab', { name: 'Day', selected: true }).waitFor();
  await page.getByRole('link', { name: 'Accounts' }).focus();
  await page.keyboard.press('Enter');
  await ann.sees('Accounts');
  await page.getByRole('button', { name: 'New account' }).focus();
  await page.keyboard.press('Enter');
  await page.getByRole('dialog').waitFor();
  await page.keyboard.press('Escape');
  await page.getByRole('dialog').waitFor({ state: 'detached' });
});
