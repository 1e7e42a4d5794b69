// A proxy as in some hotels and offices: it knows HTTP and kills WebSockets.

import { once } from 'node:events';
import { createServer, request as forward } from 'node:http';

import { atEnd } from './cleanup.mjs';

/**
 * Starts it before `server`; counts WebSockets that it `killed`, and messages `sent`.
 *
 * `next`: where all requests but the first one go, as with a load balancer that
 * knows no sessions; `host` and `port`: where it listens.
 */
export async function startProxy(t, server, { next = server, host = '127.0.0.1', port = 0 } = {}) {
  const proxy = { host, killed: 0, sent: 0 };
  let node = server;
  const http = createServer((request, response) => {
    const { method, url, headers } = request;
    proxy.sent += method === 'POST' && url.includes('/xhr_send') ? 1 : 0;
    const onward = forward({ host: node.host, port: node.port, method, path: url, headers }, (answer) => {
      response.writeHead(answer.statusCode, answer.headers);
      answer.pipe(response);
      answer.on('error', () => response.destroy());
    });
    onward.on('error', () => response.destroy());
    response.on('close', () => onward.destroy());
    request.pipe(onward);
    node = next;
  });
  http.on('upgrade', (_request, socket) => {
    proxy.killed += 1;
    socket.destroy();
  });
  http.listen(port, host);
  await once(http, 'listening');
  proxy.port = http.address().port;
  atEnd(t, () => {
    http.closeAllConnections();
    http.close();
  });
  return proxy;
}

/** The options of pusher-js that send everything to `at`, WebSocket or not. */
export function everyWayTo(at, transports) {
  return {
    wsHost: at.host,
    wsPort: at.port,
    httpHost: at.host,
    httpPort: at.port,
    ...(transports ? { enabledTransports: transports } : { enabledTransports: undefined }),
  };
}
