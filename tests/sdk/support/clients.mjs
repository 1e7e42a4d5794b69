// The real clients, pointed at a test's server.

import { createRequire } from 'node:module';

import ServerSdk from 'pusher';

import { atEnd } from './cleanup.mjs';
import { APP } from './server.mjs';
import { emitted, within } from './within.mjs';

// The packages are CommonJS or UMD; what they export differs between majors.
const require = createRequire(import.meta.url);
const load = (name) => {
  const loaded = require(name);
  return loaded.default ?? loaded.Pusher ?? loaded;
};

/** Every major version of pusher-js that is tested, by its version. */
export const PUSHER_JS = {
  '8.6.0': load('pusher-js'),
  '7.6.0': load('pusher-js-7'),
  '5.1.1': load('pusher-js-5'),
  '4.4.0': load('pusher-js-4'),
};

export const Pusher = PUSHER_JS['8.6.0'];

/** The options that differ from hosted Pusher. */
export function options(server) {
  return {
    cluster: '',
    wsHost: server.host,
    wsPort: server.port,
    forceTLS: false,
    enabledTransports: ['ws'],
    // Majors before 5.1 report statistics to Pusher unless told otherwise.
    disableStats: true,
  };
}

/** A client that may still be connecting. */
export function client(t, server, { version = '8.6.0', key = APP.key, ...more } = {}) {
  const pusher = new PUSHER_JS[version](key, { ...options(server), ...more });
  atEnd(t, () => pusher.disconnect());
  return pusher;
}

/** A client that is connected. */
export async function connect(t, server, more) {
  const pusher = client(t, server, more);
  await reaches(pusher, 'connected');
  return pusher;
}

/** Waits until the connection is in `state`. */
export async function reaches(pusher, state, ms) {
  if (pusher.connection.state !== state) {
    await emitted(pusher.connection, state, `the state ${state}`, ms);
  }
}

/** The code of an `error` event, which each cause wraps a little differently. */
export function codeOf(error) {
  return detailOf(error).code;
}

/** The text of an `error` event. */
export function messageOf(error) {
  return detailOf(error).message;
}

function detailOf(error) {
  return error.data ?? error.error?.data;
}

/** Subscribes and waits for the server's yes; its no fails the test. */
export async function subscribe(pusher, name) {
  const channel = pusher.subscribe(name);
  const answer = new Promise((resolve, reject) => {
    channel.bind('pusher:subscription_succeeded', resolve);
    channel.bind('pusher:subscription_error', (error) => {
      reject(new Error(`subscription to ${name} refused: ${JSON.stringify(error)}`));
    });
  });
  await within(answer, `the subscription to ${name}`);
  return channel;
}

/** The official server SDK for Node. */
export function serverSdk(server, more = {}) {
  return new ServerSdk({
    appId: APP.id,
    key: APP.key,
    secret: APP.secret,
    host: server.host,
    port: server.port,
    useTLS: false,
    timeout: 10_000,
    ...more,
  });
}

/** The body of an answer to the server SDK's `get`. */
export async function json(answer) {
  return (await answer).json();
}

/**
 * Everything that a channel or a client hears, in order.
 *
 * `next(event)` waits for the next one of that name that was not taken yet.
 */
export class Ears {
  #heard = [];
  #wake = () => {};

  constructor(emitter) {
    emitter.bind_global((event, data, metadata) => {
      this.#heard.push({ event, data, metadata });
      this.#wake();
    });
  }

  /** Names of all events that were not taken, except those of the protocol itself. */
  get waiting() {
    return this.#heard.filter(({ event }) => !event.startsWith('pusher')).map(({ event }) => event);
  }

  async next(event, ms) {
    const what = () => `${event}; heard: ${JSON.stringify(this.#heard.map((heard) => heard.event))}`;
    return within(this.#take(event), what, ms);
  }

  async #take(event) {
    for (;;) {
      const index = this.#heard.findIndex((heard) => heard.event === event);
      if (index >= 0) {
        return this.#heard.splice(index, 1)[0];
      }
      await new Promise((resolve) => {
        this.#wake = resolve;
      });
    }
  }
}

/**
 * Proves that everything the server sent to `pusher` before has arrived: one
 * connection gets its messages in order, so the answer to a ping comes last.
 */
export async function settled(pusher) {
  const heardPong = new Promise((resolve) => {
    const listener = ({ event }) => {
      if (event === 'pusher:pong') {
        pusher.connection.unbind('message', listener);
        resolve();
      }
    };
    pusher.connection.bind('message', listener);
  });
  pusher.send_event('pusher:ping', {});
  await within(heardPong, 'the answer to a ping');
}
