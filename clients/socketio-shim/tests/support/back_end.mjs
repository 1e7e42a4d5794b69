// A back end with JWTs and the rules of a call centre, which signs with the official
// SDK. `refuse` makes it answer with a status for a while.

import { createHmac, timingSafeEqual } from 'node:crypto';
import { once } from 'node:events';
import { createServer } from 'node:http';

import { atEnd } from '../../../../tests/sdk/support/cleanup.mjs';
import { roomOfChannel } from '../../dist/rooms.js';

const SECRET = 'a secret of the tests, long enough';
const STAFF = ['operator', 'callcentre_operator', 'director'];

const RULES = {
  all: () => true,
  online: () => true,
  operators: ({ role }) => STAFF.includes(role),
  directors: ({ role }) => role === 'director',
  role: ({ role }, name) => role === name,
  city: ({ role }) => [...STAFF, 'master'].includes(role),
  operator: ({ role, sub }, id) => sub === id || role === 'director',
  user: ({ role, sub }, id) => sub === id || role === 'director',
  order: ({ role }) => STAFF.includes(role),
  dialog: ({ sub }) => sub !== undefined,
};

/** A token as the page has it. */
export function tokenOf(claims, secret = SECRET) {
  const encode = (part) => Buffer.from(JSON.stringify(part)).toString('base64url');
  const text = `${encode({ alg: 'HS256', typ: 'JWT' })}.${encode(claims)}`;
  return `${text}.${sign(text, secret).toString('base64url')}`;
}

/** Starts it for the test `t`; `asked` is what it was asked, `refuse` its next statuses. */
export async function startBackEnd(t, sdk) {
  const backEnd = { asked: [], refuse: [] };
  const server = createServer(async (request, response) => {
    response.setHeader('access-control-allow-origin', '*');
    response.setHeader('access-control-allow-headers', 'authorization');
    if (request.method === 'OPTIONS') {
      response.writeHead(204).end();
      return;
    }
    const form = new URLSearchParams(Buffer.concat(await request.toArray()).toString());
    const fields = Object.fromEntries(form);
    backEnd.asked.push({ path: request.url, fields });
    const [status, answer] = backEnd.refuse.length > 0
      ? [backEnd.refuse.shift(), { message: 'not now' }]
      : decide(sdk, request, fields);
    response.writeHead(status, { 'content-type': 'application/json' });
    response.end(typeof answer === 'string' ? answer : JSON.stringify(answer));
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  atEnd(t, () => {
    server.closeAllConnections();
    server.close();
  });
  backEnd.url = `http://127.0.0.1:${server.address().port}`;
  return backEnd;
}

function decide(sdk, request, { socket_id: socketId, channel_name: channel, displayId, filters }) {
  const claims = claimsIn(request.headers.authorization);
  if (channel?.startsWith('presence-sto-display;')) {
    const member = { user_id: displayId, user_info: { filters: JSON.parse(filters) } };
    return [200, sdk.authorizeChannel(socketId, channel, member)];
  }
  if (channel?.startsWith('presence-sto-mechanics') || channel?.startsWith('private-sto-')) {
    return [200, sdk.authorizeChannel(socketId, channel, { user_id: '7' })];
  }
  if (!claims) {
    return [401, { message: 'no valid token' }];
  }
  const { sub, role, name } = claims;
  if (request.url === '/pusher/user-auth') {
    if (claims.evilUser !== undefined) {
      return [200, claims.evilUser];
    }
    return [200, sdk.authenticateUser(socketId, { id: sub, role, name })];
  }
  if (claims.evil !== undefined) {
    return [200, claims.evil];
  }
  const [kind, ...rest] = roomOfChannel(channel).split(':');
  if (!RULES[kind]?.(claims, rest.join(':'))) {
    return [403, { message: 'not your room' }];
  }
  const member = { user_id: sub, user_info: { userId: sub, name, role } };
  return [200, sdk.authorizeChannel(socketId, channel, channel.startsWith('presence-') ? member : undefined)];
}

function claimsIn(header = '') {
  const [, text, signature] = header.match(/^Bearer ([\w-]+\.[\w-]+)\.([\w-]+)$/) ?? [];
  if (!text) {
    return undefined;
  }
  const [given, right] = [Buffer.from(signature, 'base64url'), sign(text, SECRET)];
  if (given.length !== right.length || !timingSafeEqual(given, right)) {
    return undefined;
  }
  return JSON.parse(Buffer.from(text.split('.')[1], 'base64url').toString());
}

function sign(text, secret) {
  return createHmac('sha256', secret).update(text).digest();
}
