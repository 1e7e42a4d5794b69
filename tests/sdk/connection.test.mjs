// pusher-js opens a connection, is refused, and keeps it alive.

import assert from 'node:assert/strict';
import { test } from 'node:test';

import { PUSHER_JS, client, codeOf, connect, messageOf, reaches, settled } from './support/clients.mjs';
import { startServer } from './support/server.mjs';
import { emitted } from './support/within.mjs';

for (const version of Object.keys(PUSHER_JS)) {
  test(`pusher-js ${version} connects and gets a socket id of its own (1, 2, 3)`, async (t) => {
    const server = await startServer(t);

    const one = await connect(t, server, { version });
    const other = await connect(t, server, { version });

    assert.match(one.connection.socket_id, /^[1-9]\d*\.[1-9]\d*$/);
    assert.doesNotMatch(one.connection.socket_id, /0$/);
    assert.notEqual(one.connection.socket_id, other.connection.socket_id);
  });

  test(`pusher-js ${version} goes from connecting to connected to disconnected (1)`, async (t) => {
    const server = await startServer(t);
    const states = [];
    const pusher = client(t, server, { version });
    pusher.connection.bind('state_change', ({ current }) => states.push(current));

    await reaches(pusher, 'connected');
    pusher.disconnect();
    await reaches(pusher, 'disconnected');

    assert.deepEqual(states.slice(-2), ['connected', 'disconnected']);
  });

  test(`pusher-js ${version} is told 4001 for an unknown key and does not come back (9, 11)`, async (t) => {
    const server = await startServer(t);
    const pusher = client(t, server, { version, key: 'unknown-key' });
    const errors = [];
    pusher.connection.bind('error', (error) => errors.push(error));

    const error = await emitted(pusher.connection, 'error');
    await reaches(pusher, 'disconnected');

    assert.equal(codeOf(error), 4001);
    assert.match(messageOf(error), /unknown-key/);
    assert.equal(errors.length, 1);
  });

  test(`pusher-js ${version} pings when nothing comes, and the server answers (31)`, async (t) => {
    const server = await startServer(t);
    const pusher = await connect(t, server, { version, activityTimeout: 200, pongTimeout: 10_000 });
    const socketId = pusher.connection.socket_id;

    const heard = await emitted(pusher.connection, 'message', 'the answer to the ping of an idle client');

    assert.equal(heard.event, 'pusher:pong');
    assert.equal(pusher.connection.socket_id, socketId);
  });
}

test('the server asks an idle client, which answers and stays (34, 36)', async (t) => {
  const server = await startServer(t, { connection: 'ping_after = 1\npong_wait = 1' });
  const idle = await connect(t, server);
  const other = await connect(t, server);
  const socketId = idle.connection.socket_id;

  // The second client waits out two rounds; it would be closed with 4201 too.
  await emitted(other.connection, 'state_change', 'a lost connection', 3_500).then(
    ({ current }) => assert.fail(`the connection became ${current}`),
    () => {},
  );

  await settled(idle);
  assert.equal(idle.connection.socket_id, socketId);
});

test('a disabled app refuses with 4003 (12)', async (t) => {
  const server = await startServer(t, { app: 'enabled = false' });
  const pusher = client(t, server);

  const error = await emitted(pusher.connection, 'error');

  assert.equal(codeOf(error), 4003);
  await reaches(pusher, 'disconnected');
});

test('above its quota an app can refuse for good with 4004 (14)', async (t) => {
  const server = await startServer(t, { app: 'over_quota = "refuse"', limits: 'connections = 1' });
  await connect(t, server);
  const second = client(t, server);

  const error = await emitted(second.connection, 'error');

  assert.equal(codeOf(error), 4004);
  await reaches(second, 'disconnected');
});

test('above its quota a client is let in once another has left (14)', async (t) => {
  const server = await startServer(t, { limits: 'connections = 1' });
  const first = await connect(t, server);
  const second = client(t, server);
  const error = await emitted(second.connection, 'error');

  first.disconnect();

  assert.equal(codeOf(error), 4100);
  await reaches(second, 'connected');
});

test('a message that the server does not know is answered with an error, and the client stays (26, 28)', async (t) => {
  const server = await startServer(t);
  const pusher = await connect(t, server);

  pusher.send_event('pusher:nonsense', {});
  const error = await emitted(pusher.connection, 'error');

  assert.equal(codeOf(error), null);
  assert.match(messageOf(error), /^Unsupported event received on socket: pusher:nonsense$/);
  await settled(pusher);
  assert.equal(pusher.connection.state, 'connected');
});
