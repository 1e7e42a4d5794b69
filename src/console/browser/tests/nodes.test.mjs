// The console of a deployment: whichever node is asked, all of them are seen.

import assert from 'node:assert/strict';
import { get } from 'node:http';
import { test } from 'node:test';
import { gunzipSync } from 'node:zlib';

import { connect, subscribe } from '../../../../tests/sdk/support/clients.mjs';
import { startRedis } from '../../../../tests/sdk/support/redis.mjs';
import { eventually } from '../../../../tests/sdk/support/within.mjs';
import { ADMIN, looksAt, open, startBrowser, startConsole } from './support/console.mjs';

test('two nodes with Redis and an adapter, seen from one of them', async (t) => {
  const redis = await startRedis(t);
  const tables = `[engine]
url = "${redis}"
node_timeout = 6
[auth]
jwt_secret = "shared"
[adapters.rooms]
enabled = true
webhook_token = "hook"
`;
  const [server, other] = await Promise.all([1, 2].map(() => startConsole(t, { tables })));
  const far = await connect(t, other);
  await subscribe(far, 'news');
  const browser = await startBrowser(t);
  const ann = await open(browser, server);
  const { page } = ann;
  await ann.begin(server, ADMIN);

  await ann.goes('nodes', 'Nodes');
  const row = (node) => page.getByRole('row', { name: new RegExp(`:${node.port}`) });
  await row(server).getByText('(answers)').waitFor();
  await row(other).getByText('Serving').waitFor();
  await page.getByText('Connected through Redis').first().waitFor();
  await page.getByRole('heading', { name: 'Figures of the connection with other nodes' }).waitFor();
  await row(other).getByRole('button').click();
  await page.getByRole('heading', { level: 2, name: new RegExp(`:${other.port}`) }).waitFor();
  const adapters = page.getByRole('region', { name: 'Adapters' });
  await adapters.getByRole('row', { name: /rooms\s*Up/ }).waitFor();
  await looksAt(ann, 'nodes');

  await ann.goes('connections', 'Connections');
  const socketId = far.connection.socket_id;
  await page.getByRole('row', { name: new RegExp(`${socketId}.*:${other.port}`) }).waitFor();
  await page.getByLabel('Socket id').fill(socketId);
  await page.getByRole('button', { name: 'Find' }).click();
  await ann.sees(socketId);
  await page.getByRole('link', { name: 'news' }).click();
  await ann.sees('news');
  await page.getByRole('link', { name: socketId }).click();
  await ann.sees(socketId);
  const closed = new Promise((resolve) => far.connection.bind('error', ({ error, data }) => resolve((data ?? error?.data).code)));
  await page.getByRole('button', { name: 'Disconnect' }).click();
  await page.getByRole('button', { name: 'Yes' }).click();
  await page.getByText('The connection is closed').waitFor();
  assert.equal(await closed, 4009);

  // A node that dies is missed at first, and then it is no more.
  await ann.goes('nodes', 'Nodes');
  await row(other).waitFor();
  await other.kill();
  await page.getByText('Nodes that did not answer: 1').waitFor();
  await ann.picture('nodes-unanswered');
  await page.getByText('Nodes that did not answer').waitFor({ state: 'detached' });
  assert.deepEqual(ann.errors, []);
});

/** What a browser gets that takes these codings. */
function fetched(url, codings) {
  return new Promise((resolve, reject) => {
    const headers = codings ? { 'accept-encoding': codings } : {};
    get(url, { headers }, async (answer) => {
      resolve({ status: answer.statusCode, headers: answer.headers, body: Buffer.concat(await answer.toArray()) });
    }).on('error', reject);
  });
}

test('the files of the console are sent packed to those who take it', async (t) => {
  const server = await startConsole(t);
  const page = (await fetched(`${server.url}/console/`)).body.toString();
  const script = page.match(/assets\/index-[\w-]+\.js/)[0];

  for (const name of ['', script]) {
    const url = `${server.url}/console/${name}`;
    const plain = await fetched(url);
    const packed = await fetched(url, 'gzip, deflate, br');
    assert.equal(plain.headers['content-encoding'], undefined);
    assert.equal(plain.headers.vary, 'accept-encoding');
    assert.equal(packed.headers['content-encoding'], 'gzip');
    assert.equal(packed.headers['content-type'], plain.headers['content-type']);
    assert.equal(packed.headers['cache-control'], plain.headers['cache-control']);
    assert.ok(packed.body.length < plain.body.length * 0.9);
    assert.deepEqual(gunzipSync(packed.body), plain.body);
  }
  const direct = await fetched(`${server.url}/console/${script}.gz`);
  assert.equal(direct.status, 404);
  await eventually(async () => (await fetched(`${server.url}/console/`, 'gzip;q=0')).headers['content-encoding'] === undefined, 'a plain page');
});
