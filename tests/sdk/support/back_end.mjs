// The application that every Pusher page has behind it: it knows who asks, and
// signs with the official server SDK.

import { once } from 'node:events';
import { createServer } from 'node:http';

import { atEnd } from './cleanup.mjs';

/**
 * Starts it for the test `t`; returns the URL that it listens on.
 *
 * The page says who it is with the parameter `user` (a real application would
 * look into its session). `sdk` signs; `member(user)` is the presence data,
 * `profile(user)` the data for sign-in; `files` is what else it serves.
 */
export async function startBackEnd(t, sdk, { member = asMember, profile = asProfile, files = {} } = {}) {
  const answers = {
    '/pusher/auth': (form) => {
      const channel = form.get('channel_name');
      if (channel.includes('forbidden')) {
        return undefined;
      }
      const isPresence = channel.startsWith('presence-');
      const data = isPresence ? member(form.get('user')) : undefined;
      return sdk.authorizeChannel(form.get('socket_id'), channel, data);
    },
    '/pusher/user-auth': (form) => sdk.authenticateUser(form.get('socket_id'), profile(form.get('user'))),
  };
  const server = createServer(async (request, response) => {
    const { pathname, searchParams } = new URL(request.url, 'http://localhost');
    if (request.method === 'GET' && files[pathname]) {
      const { type, body } = files[pathname];
      response.writeHead(200, { 'content-type': type }).end(await body());
      return;
    }
    const form = new URLSearchParams(await text(request));
    form.set('user', form.get('user') ?? searchParams.get('user') ?? 'nobody');
    const answer = answers[pathname]?.(form);
    if (answer === undefined) {
      response.writeHead(403).end('Forbidden');
    } else {
      response.writeHead(200, { 'content-type': 'application/json' }).end(JSON.stringify(answer));
    }
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  atEnd(t, () => {
    server.closeAllConnections();
    server.close();
  });
  return `http://127.0.0.1:${server.address().port}`;
}

function asMember(user) {
  return { user_id: user, user_info: { name: user.toUpperCase() } };
}

function asProfile(user) {
  return { id: user, user_info: { name: user.toUpperCase() } };
}

async function text(request) {
  const chunks = await request.toArray();
  return Buffer.concat(chunks).toString();
}

/** The options of pusher-js (every major) that make it ask `backEnd` as `user`. */
export function asUser(backEnd, user) {
  return {
    // Before 7.1.
    authEndpoint: `${backEnd}/pusher/auth`,
    auth: { params: { user } },
    // Since 7.1.
    channelAuthorization: { endpoint: `${backEnd}/pusher/auth`, params: { user } },
    userAuthentication: { endpoint: `${backEnd}/pusher/user-auth`, params: { user } },
  };
}
