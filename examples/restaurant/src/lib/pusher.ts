// Stock pusher-js.

import Pusher, { type Options } from 'pusher-js';

import { Connection, type Settings } from './connection';
import { Patience } from './patience';
import { sessionName } from './session';

// pusher-js asks after this silence whether anybody is there, and gives that much
// time for the answer. The server's own 120 s and 30 s would let a display in a
// dead corner of the Wi-Fi look alive for two and a half minutes.
const ACTIVITY_TIMEOUT_MS = 10_000;
const PONG_TIMEOUT_MS = 5_000;

export class PusherConnection extends Connection {
  #pusher: Pusher;

  constructor(settings: Settings) {
    super();
    this.#pusher = new Pusher(settings.key, {
      ...where(settings),
      activityTimeout: ACTIVITY_TIMEOUT_MS,
      pongTimeout: PONG_TIMEOUT_MS,
    });
    const patience = new Patience(() => {
      this.#pusher.disconnect();
      this.#pusher.connect();
    });
    this.#pusher.connection.bind('state_change', ({ current }: { current: string }) => {
      this.became(current === 'connected');
      // A failed attempt makes pusher-js wait for 15 s; a kitchen tries earlier.
      patience.follow(current === 'connected');
    });
    patience.follow(false);
  }

  protected open(name: string): void {
    const channel = this.#pusher.subscribe(name);
    channel.bind('pusher:subscription_succeeded', () => this.subscribed(name));
    // Fanfare cannot give it all that it has missed.
    channel.bind('fanfare:gap', () => this.subscribed(name));
    channel.bind_global((event: string, data: unknown) => this.received(name, event, data));
  }

  protected shut(name: string): void {
    // pusher-js gives out the same channel again if this one was still pending.
    this.#pusher.channel(name)?.unbind_all();
    this.#pusher.unsubscribe(name);
  }
}

/** Hosted Pusher is found by its cluster, our own server by its host. */
function where(settings: Settings): Options {
  if (settings.isHosted) {
    return { cluster: settings.cluster, forceTLS: true };
  }
  const wsHost = settings.host || location.hostname;
  return {
    cluster: '',
    // What was missed while the network was away comes by itself.
    wsPath: `/s/${sessionName()}`,
    wsHost,
    wsPort: settings.port,
    wssPort: settings.port,
    forceTLS: settings.tls,
    enabledTransports: ['ws', 'wss'],
  };
}
