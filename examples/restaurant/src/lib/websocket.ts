// The plain WebSocket: `{"action":"subscribe","channels":[…]}`, and events as
// `{"type":…,"payload":…}`. For machines without Pusher credentials.

import { Connection } from './connection';
import { Patience } from './patience';

const PING_EVERY_MS = 10_000;

interface Message {
  type?: string;
  success?: boolean;
  subscribedChannels?: string[];
  channel?: string;
  payload?: unknown;
}

export class RawConnection extends Connection {
  #url: string;
  #socket: WebSocket | undefined;
  #patience = new Patience(() => this.#connect());
  #hasAnswered = true;

  constructor(url: string) {
    super();
    this.#url = url;
    if (url) {
      this.#connect();
      setInterval(() => this.#ping(), PING_EVERY_MS);
    }
  }

  protected open(channel: string): void {
    this.#send({ action: 'subscribe', channels: [channel] });
  }

  protected shut(channel: string): void {
    this.#send({ action: 'unsubscribe', channels: [channel] });
  }

  #connect(): void {
    this.#socket?.close();
    const socket = new WebSocket(this.#url);
    this.#socket = socket;
    this.#hasAnswered = true;
    socket.onopen = () => {
      if (this.channels.length > 0) {
        this.#send({ action: 'subscribe', channels: this.channels });
      }
      this.became(true);
      this.#patience.follow(true);
    };
    socket.onmessage = ({ data }) => this.#accept(JSON.parse(String(data)) as Message);
    socket.onclose = () => {
      // A socket that was given up may close long after its successor has opened.
      if (socket === this.#socket) {
        this.became(false);
        this.#patience.follow(false);
      }
    };
    this.#patience.follow(false);
  }

  #accept(message: Message): void {
    this.#hasAnswered = true;
    if (message.success !== undefined) {
      message.subscribedChannels?.forEach((channel) => this.subscribed(channel));
    } else if (message.type && message.type !== 'pong') {
      this.received(message.channel ?? '', message.type, message.payload);
    }
  }

  #ping(): void {
    if (!this.isConnected) {
      return;
    }
    if (!this.#hasAnswered) {
      this.#connect();
      this.became(false);
      return;
    }
    this.#hasAnswered = false;
    this.#send({ type: 'ping' });
  }

  #send(message: object): void {
    if (this.#socket?.readyState === WebSocket.OPEN) {
      this.#socket.send(JSON.stringify(message));
    }
  }
}
