// What hooks know of a connection, however it is made.

/** What the back end tells pages about the connection. */
export interface Settings {
  key: string;
  cluster: string;
  /** Whether that is a cluster of the hosted service; else our own server. */
  isHosted: boolean;
  /** Empty: the host that the page came from. */
  host: string;
  port: number;
  tls: boolean;
  wsUrl: string;
}

export type EventListener = (channel: string, event: string, data: unknown) => void;

export abstract class Connection {
  /** Whether events arrive. */
  isConnected = false;
  #subscribers = new Map<string, number>();
  #events = new Set<EventListener>();
  #states = new Set<() => void>();
  #subscriptions = new Set<(channel: string) => void>();

  /** Subscribes for as long as somebody wants it; returns how to end that. */
  subscribe(channel: string): () => void {
    const before = this.#subscribers.get(channel) ?? 0;
    this.#subscribers.set(channel, before + 1);
    if (before === 0) {
      this.open(channel);
    }
    return () => {
      const left = (this.#subscribers.get(channel) ?? 1) - 1;
      this.#subscribers.set(channel, left);
      if (left === 0) {
        this.#subscribers.delete(channel);
        this.shut(channel);
      }
    };
  }

  /** Hears the events of all channels; one that goes to two is heard twice. */
  onEvent(listener: EventListener): () => void {
    return added(this.#events, listener);
  }

  /** Hears that `isConnected` has changed. */
  onState(listener: () => void): () => void {
    return added(this.#states, listener);
  }

  /**
   * Hears each time that a channel begins to deliver. What happened before is to
   * be read from the back end, now or later, and there is no gap.
   */
  onSubscribed(listener: (channel: string) => void): () => void {
    return added(this.#subscriptions, listener);
  }

  protected get channels(): string[] {
    return [...this.#subscribers.keys()];
  }

  protected received(channel: string, event: string, data: unknown): void {
    this.#events.forEach((listener) => listener(channel, event, data));
  }

  protected subscribed(channel: string): void {
    this.#subscriptions.forEach((listener) => listener(channel));
  }

  protected became(isConnected: boolean): void {
    if (this.isConnected !== isConnected) {
      this.isConnected = isConnected;
      this.#states.forEach((listener) => listener());
    }
  }

  protected abstract open(channel: string): void;
  protected abstract shut(channel: string): void;
}

function added<T>(set: Set<T>, item: T): () => void {
  set.add(item);
  return () => set.delete(item);
}
