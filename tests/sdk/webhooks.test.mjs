// Webhooks, as the official SDKs of back ends verify and read them.

import assert from 'node:assert/strict';
import { once } from 'node:events';
import { createServer } from 'node:http';
import { test } from 'node:test';

import { atEnd } from './support/cleanup.mjs';
import { asUser, startBackEnd } from './support/back_end.mjs';
import { connect, serverSdk, subscribe } from './support/clients.mjs';
import { pythonSdk } from './support/python.mjs';
import { APP, startServer } from './support/server.mjs';
import { eventually } from './support/within.mjs';

const TYPES = ['channel_occupied', 'channel_vacated', 'member_added', 'member_removed', 'client_event'];

/** A back end that keeps what it is sent; headers as Node gives them. */
async function startReceiver(t) {
  const received = [];
  const server = createServer(async (request, response) => {
    const rawBody = Buffer.concat(await request.toArray()).toString();
    received.push({ headers: request.headers, rawHeaders: request.rawHeaders, rawBody });
    response.writeHead(200).end();
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  atEnd(t, () => {
    server.closeAllConnections();
    server.close();
  });
  return { received, url: `http://127.0.0.1:${server.address().port}/hook` };
}

test('the SDKs of Node and Python verify every webhook (168 to 173)', async (t) => {
  const receiver = await startReceiver(t);
  const server = await startServer(t, {
    app: `webhooks = [{ url = "${receiver.url}", events = ${JSON.stringify(TYPES)} }]`,
  });
  const sdk = serverSdk(server);
  const python = pythonSdk(server);
  const backEnd = await startBackEnd(t, sdk);
  const pusher = await connect(t, server, asUser(backEnd, 'zoë'));

  const room = await subscribe(pusher, 'presence-room');
  room.trigger('client-bump', { order: 7, guest: 'Кухня' });
  const socketId = pusher.connection.socket_id;
  const events = () =>
    receiver.received.flatMap((request) => sdk.webhook({ ...request, headers: request.headers }).getEvents());
  await eventually(() => events().length >= 3, 'three events');
  // The hold-back of three seconds begins here.
  pusher.disconnect();
  await eventually(() => events().length >= 5, 'the departure');

  for (const { headers, rawHeaders, rawBody } of receiver.received) {
    assert.ok(sdk.webhook({ headers, rawBody }).isValid());
    assert.ok(!sdk.webhook({ headers, rawBody: `${rawBody} ` }).isValid());
    assert.ok(rawHeaders.includes('X-Pusher-Signature'));
    const body = await python('validate_webhook', {
      key: headers['x-pusher-key'],
      signature: headers['x-pusher-signature'],
      body: rawBody,
    });
    assert.deepEqual(body, JSON.parse(rawBody));
  }
  assert.deepEqual(events(), [
    { name: 'channel_occupied', channel: 'presence-room' },
    { name: 'member_added', channel: 'presence-room', user_id: 'zoë' },
    {
      name: 'client_event',
      channel: 'presence-room',
      event: 'client-bump',
      data: JSON.stringify({ order: 7, guest: 'Кухня' }),
      socket_id: socketId,
      user_id: 'zoë',
    },
    { name: 'member_removed', channel: 'presence-room', user_id: 'zoë' },
    { name: 'channel_vacated', channel: 'presence-room' },
  ]);
  assert.equal(receiver.received[0].headers['x-pusher-key'], APP.key);
});
