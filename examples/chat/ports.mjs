// Ports for programs that have to know of one another before they start.

import { once } from 'node:events';
import { createServer } from 'node:net';

/** A port of loopback that is free at the moment. */
export async function freePort() {
  const server = createServer();
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address();
  server.close();
  await once(server, 'close');
  return port;
}
