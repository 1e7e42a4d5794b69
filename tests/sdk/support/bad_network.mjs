// The Wi-Fi of a kitchen: a TCP proxy that cuts connections, holds them up and
// swallows what they carry, at times that a seed decides.

import { once } from 'node:events';
import { connect, createServer } from 'node:net';

import { atEnd } from './cleanup.mjs';

// What a server sends before its client is connected; a fault before that would
// make pusher-js wait for 15 s.
const HANDSHAKE_BYTES = 250;

/** Starts it before `server`; counts what it did in `faults`. */
export async function startBadNetwork(t, server, seed) {
  const network = new BadNetwork(server, random(seed));
  await network.listen();
  atEnd(t, () => network.close());
  return network;
}

class BadNetwork {
  host = '127.0.0.1';
  faults = { cut: 0, swallowed: 0, delayed: 0 };
  #isCalm = false;
  #random;
  #proxy;
  #links = new Set();

  constructor(server, random) {
    this.#random = random;
    this.#proxy = createServer((client) => {
      const link = { client, onward: connect(server.port, server.host), held: undefined, received: 0 };
      this.#links.add(link);
      this.#carry(link, client, link.onward);
      this.#carry(link, link.onward, client);
    });
  }

  async listen() {
    this.#proxy.listen(0, this.host);
    await once(this.#proxy, 'listening');
    this.port = this.#proxy.address().port;
  }

  /** Lets everything through from now on; who is being swallowed is cut. */
  calm() {
    this.#isCalm = true;
    for (const link of this.#links) {
      if (link.isSwallowed) {
        this.#cut(link);
      }
    }
  }

  close() {
    this.#isCalm = true;
    this.#links.forEach((link) => this.#cut(link));
    this.#proxy.close();
  }

  #carry(link, from, to) {
    from.setNoDelay(true);
    from.on('data', (bytes) => {
      if (from === link.onward) {
        const before = link.received;
        link.received += bytes.length;
        if (before < HANDSHAKE_BYTES && link.received >= HANDSHAKE_BYTES) {
          this.#plan(link);
        }
      }
      if (link.isSwallowed) {
        return;
      }
      if (link.held) {
        link.held.push([to, bytes]);
      } else {
        to.write(bytes);
      }
    });
    from.on('error', () => this.#cut(link));
    from.on('close', () => this.#cut(link));
  }

  #plan(link) {
    link.timer = setTimeout(() => this.#disturb(link), 300 + this.#random() * 2_500);
  }

  #disturb(link) {
    if (this.#isCalm || !this.#links.has(link)) {
      return;
    }
    const kind = this.#random();
    const time = 100 + this.#random() * 900;
    if (kind < 0.4) {
      this.faults.cut += 1;
      this.#cut(link);
    } else if (kind < 0.7) {
      this.faults.swallowed += 1;
      link.isSwallowed = true;
      link.timer = setTimeout(() => this.#cut(link), time + 1_000);
    } else {
      this.faults.delayed += 1;
      link.held = [];
      link.timer = setTimeout(() => {
        const held = link.held;
        link.held = undefined;
        held.forEach(([to, bytes]) => to.write(bytes));
        this.#plan(link);
      }, time);
    }
  }

  #cut(link) {
    clearTimeout(link.timer);
    this.#links.delete(link);
    link.client.destroy();
    link.onward.destroy();
  }
}

// A small generator of 32 bits: the same seed gives the same faults.
function random(seed) {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x9e3779b9) >>> 0;
    let mixed = state;
    mixed = Math.imul(mixed ^ (mixed >>> 16), 0x85ebca6b);
    mixed = Math.imul(mixed ^ (mixed >>> 13), 0xc2b2ae35);
    return ((mixed ^ (mixed >>> 16)) >>> 0) / 2 ** 32;
  };
}
