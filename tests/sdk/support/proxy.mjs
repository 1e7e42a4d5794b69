// A proxy as in some hotels and offices: it knows HTTP and kills WebSockets.

import { once } from 'node:events';
import { createServer, request as forward } from 'node:http';

import { atEnd } from './cleanup.mjs';

/** Starts it before `server`; counts WebSockets that it `killed`, and messages `sent`. */
export async function startProxy(t, server) {
  const proxy = { host: '127.0.0.1', killed: 0, sent: 0 };
  const http = createServer((request, response) => {
    const { method, url, headers } = request;
    proxy.sent += method === 'POST' && url.includes('/xhr_send') ? 1 : 0;
    const onward = forward({ host: server.host, port: server.port, method, path: url, headers }, (answer) => {
      response.writeHead(answer.statusCode, answer.headers);
      answer.pipe(response);
      answer.on('error', () => response.destroy());
    });
    onward.on('error', () => response.destroy());
    response.on('close', () => onward.destroy());
    request.pipe(onward);
  });
  http.on('upgrade', (_request, socket) => {
    proxy.killed += 1;
    socket.destroy();
  });
  http.listen(0, proxy.host);
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
