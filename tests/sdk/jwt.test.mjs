// People with JWTs: pusher-js asks Fanfare itself, and back ends broadcast to rooms.

import assert from 'node:assert/strict';
import { createHmac } from 'node:crypto';
import { test } from 'node:test';

import { Ears, codeOf, connect, reaches, settled, subscribe } from './support/clients.mjs';
import { startRedis } from './support/redis.mjs';
import { startServer } from './support/server.mjs';
import { emitted } from './support/within.mjs';

const SECRET = 'what the issuer and the server share';
const CALL_CENTRE = `
[auth]
jwt_secret = "${SECRET}"
[adapters.rooms]
enabled = true
webhook_token = "hook"
`;

function jwt(claims, seconds = 3600) {
  const part = (value) => Buffer.from(JSON.stringify(value)).toString('base64url');
  const exp = Math.floor(Date.now() / 1000) + seconds;
  const text = `${part({ alg: 'HS256', typ: 'JWT' })}.${part({ ...claims, exp })}`;
  return `${text}.${createHmac('sha256', SECRET).update(text).digest('base64url')}`;
}

/** Options of a page whose user has this token. */
function as(server, claims, seconds) {
  const headersProvider = () => ({ Authorization: `Bearer ${jwt(claims, seconds)}` });
  return {
    channelAuthorization: { endpoint: `${server.url}/pusher/auth`, headersProvider },
    userAuthentication: { endpoint: `${server.url}/pusher/user-auth`, headersProvider },
  };
}

async function broadcast(server, kind, body) {
  const answer = await fetch(`${server.url}/api/v1/broadcast/${kind}`, {
    method: 'POST',
    headers: { 'Content-Type': 'application/json' },
    body: JSON.stringify({ token: 'hook', ...body }),
  });
  assert.equal(answer.status, 200, await answer.clone().text());
  return answer.json();
}

test('pusher-js subscribes and signs in with a JWT and hears of calls in its rooms', async (t) => {
  const server = await startServer(t, { tables: CALL_CENTRE });
  const pusher = await connect(t, server, as(server, { sub: 7, role: 'operator', name: 'Ann' }));
  const operators = new Ears(await subscribe(pusher, 'private-operators'));
  const city = new Ears(await subscribe(pusher, 'private-city;=0KHQsNGA0LDRgtC-0LI'));
  const online = await subscribe(pusher, 'presence-online');
  assert.deepEqual(online.members.me, { id: '7', info: { userId: '7', name: 'Ann', role: 'operator' } });
  const signedIn = emitted(pusher, 'pusher:signin_success');
  pusher.signin();
  await signedIn;
  assert.equal(pusher.user.user_data.user_info.role, 'operator');

  await broadcast(server, 'order-new', { order: { id: 1, city: 'Саратов', clientName: 'Иван' } });

  const [one, other] = [await operators.next('order:new'), await city.next('order:new')];
  assert.equal(one.data.clientName, 'Иван');
  assert.equal(one.data._eid, other.data._eid);
  const personal = new Promise((resolve) => pusher.user.bind('notification', resolve));
  await broadcast(server, 'notification', { notification: { type: 'system', message: 'Конец' }, userId: 7 });
  assert.equal((await personal).message, 'Конец');
});

test('pusher-js is told that a JWT does not open a room', async (t) => {
  const server = await startServer(t, { tables: CALL_CENTRE });
  const pusher = await connect(t, server, as(server, { sub: 7, role: 'master' }));

  const refused = await emitted(pusher.subscribe('private-directors'), 'pusher:subscription_error');

  assert.equal(refused.type, 'AuthError');
  assert.equal(refused.status, 403);
  await settled(pusher);
});

test('pusher-js is sent away when its token expires, and comes back with a new one', async (t) => {
  const tables = CALL_CENTRE.replace('[auth]', '[auth]\nleeway = 0\ndisconnect_on_expiry = true');
  const redis = await startRedis(t);
  const [answering, server] = await Promise.all(
    [1, 2].map(() => startServer(t, { tables: `${tables}\n[engine]\nurl = "${redis}"\n` })),
  );
  let seconds = 3;
  const headersProvider = () => ({ Authorization: `Bearer ${jwt({ sub: 7, role: 'operator' }, seconds)}` });
  for (const version of ['8.6.0', '7.6.0']) {
    seconds = 3;
    const pusher = await connect(t, server, {
      version,
      channelAuthorization: { endpoint: `${answering.url}/pusher/auth`, headersProvider },
    });
    const expired = new Promise((resolve) => {
      pusher.connection.bind('error', (error) => codeOf(error) === 4009 && resolve());
    });
    await subscribe(pusher, 'private-operators');
    await subscribe(pusher, 'presence-online');
    await expired;
    await reaches(pusher, 'disconnected');

    seconds = 3600;
    const again = emitted(pusher.channel('private-operators'), 'pusher:subscription_succeeded');
    pusher.connect();
    await again;
    await settled(pusher);
    pusher.disconnect();
  }
});
