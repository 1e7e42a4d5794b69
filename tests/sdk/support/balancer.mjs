// A load balancer as in front of every deployment: it spreads TCP connections over
// the nodes whose /ready says yes, and tries another one when one refuses.

import { once } from 'node:events';
import { connect, createServer } from 'node:net';

import { atEnd } from './cleanup.mjs';

const PROBE_MS = 50;

/** Starts it for the test `t` before `nodes`, which are ready. */
export async function startBalancer(t, nodes) {
  const ready = new Set(nodes);
  const sockets = new Map();
  let turn = 0;
  // A node that is ready no more refuses; then another one is tried.
  const reach = async () => {
    for (const _ of nodes) {
      const candidates = nodes.filter((node) => ready.has(node));
      const node = candidates[turn++ % candidates.length];
      const socket = node && connect(node.port, node.host);
      try {
        await once(socket, 'connect');
        return { node, socket };
      } catch {
        ready.delete(node);
      }
    }
    return {};
  };
  const server = createServer(async (client) => {
    client.on('error', () => {});
    const { node, socket: onward } = await reach();
    if (onward === undefined) {
      client.destroy();
      return;
    }
    sockets.set(client, node);
    for (const [from, to] of [
      [client, onward],
      [onward, client],
    ]) {
      from.on('error', () => to.destroy());
      from.pipe(to);
    }
    client.on('close', () => sockets.delete(client));
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const probe = async (node) => {
    try {
      const answer = await fetch(`http://${node.host}:${node.metricsPort}/ready`);
      return answer.ok;
    } catch {
      return false;
    }
  };
  const probing = setInterval(async () => {
    for (const node of nodes) {
      if (await probe(node)) {
        ready.add(node);
      } else {
        ready.delete(node);
      }
    }
  }, PROBE_MS);
  atEnd(t, () => {
    clearInterval(probing);
    sockets.forEach((_node, socket) => socket.destroy());
    server.close();
  });
  return {
    host: '127.0.0.1',
    port: server.address().port,
    /** Connections that are on `node` now. */
    on: (node) => [...sockets.values()].filter((there) => there === node).length,
  };
}
