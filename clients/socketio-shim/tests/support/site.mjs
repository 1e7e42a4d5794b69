// A Fanfare, a back end with JWTs, and sockets of the shim.

import { once } from 'node:events';
import { createRequire } from 'node:module';
import { connect, createServer } from 'node:net';

import { atEnd } from '../../../../tests/sdk/support/cleanup.mjs';
import { APP, startServer } from '../../../../tests/sdk/support/server.mjs';
import { within } from '../../../../tests/sdk/support/within.mjs';
import { ioWith } from '../../dist/index.js';
import { startBackEnd, tokenOf } from './back_end.mjs';

const Pusher = createRequire(import.meta.url)('pusher');

export async function startSite(t, settings) {
  const server = await startServer(t, settings);
  const sdk = new Pusher({
    appId: APP.id,
    key: APP.key,
    secret: APP.secret,
    host: server.host,
    port: server.port,
    useTLS: false,
    timeout: 10_000,
  });
  const backEnd = await startBackEnd(t, sdk);
  const line = await startLine(t, server);
  /** A socket that records what it hears from the first moment on. */
  const open = (options) => {
    const socket = ioWith({
      key: APP.key,
      authEndpoint: `${backEnd.url}/pusher/auth`,
      userAuthEndpoint: `${backEnd.url}/pusher/user-auth`,
      transports: ['websocket'],
      autoConnect: false,
    })(line.url, options);
    atEnd(t, () => socket.disconnect());
    const ears = new Ears(socket);
    if (options?.autoConnect !== false) {
      socket.connect();
    }
    return Object.assign(ears, { socket });
  };
  /** A socket of somebody with a token. */
  const openAs = (claims, options) => open({ auth: { token: tokenOf(claims) }, ...options });
  return { server, sdk, backEnd, open, openAs, cut: line.cut };
}

/** The network between sockets and server; `cut` breaks every connection on it. */
async function startLine(t, server) {
  const open = new Set();
  const line = createServer((client) => {
    const onward = connect(server.port, server.host);
    for (const socket of [client, onward]) {
      open.add(socket);
      socket.on('error', () => {}).on('close', () => {
        open.delete(socket);
        client.destroy();
        onward.destroy();
      });
    }
    client.pipe(onward).pipe(client);
  });
  line.listen(0, '127.0.0.1');
  await once(line, 'listening');
  const cut = () => open.forEach((socket) => socket.destroy());
  atEnd(t, () => {
    cut();
    line.close();
  });
  return { url: `http://127.0.0.1:${line.address().port}`, cut };
}

/** Everything that the listeners of a socket are told, in order. */
class Ears {
  heard = [];
  #wake = () => {};

  constructor(socket) {
    const names = ['connect', 'connected', 'authenticated', 'disconnect', 'connect_error', 'error', 'pong'];
    for (const name of names) {
      socket.on(name, (...values) => this.#hear(name, values));
    }
    socket.onAny((name, ...values) => this.#hear(name, values));
  }

  /** The values of the next `event` that was not taken yet. */
  async next(event) {
    const take = async () => {
      for (;;) {
        const index = this.heard.findIndex((heard) => heard.event === event);
        if (index >= 0) {
          return this.heard.splice(index, 1)[0].values;
        }
        await new Promise((resolve) => {
          this.#wake = resolve;
        });
      }
    };
    return within(take(), () => `${event}; heard: ${JSON.stringify(this.heard)}`);
  }

  /** Values of all `event`s that were not taken, when all that was sent has arrived. */
  async all(event) {
    await this.socket.emitWithAck('ping');
    return this.heard.filter((heard) => heard.event === event).map(({ values }) => values);
  }

  #hear(event, values) {
    this.heard.push({ event, values });
    this.#wake();
  }
}
