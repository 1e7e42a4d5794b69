// Listeners by the name of what they listen to.

export type Listener = (...values: any[]) => void;
export type AnyListener = (event: string, ...values: any[]) => void;

/** `on`, `once`, `off` and `onAny` as socket.io-client has them. */
export class Emitter {
  #listeners = new Map<string, Array<{ listener: Listener; isOnce: boolean }>>();
  #anyListeners: AnyListener[] = [];

  on(event: string, listener: Listener): this {
    return this.#add(event, listener, false);
  }

  once(event: string, listener: Listener): this {
    return this.#add(event, listener, true);
  }

  /** Forgets one listener, all of an event, or all. */
  off(event?: string, listener?: Listener): this {
    if (event === undefined) {
      this.#listeners.clear();
    } else if (listener === undefined) {
      this.#listeners.delete(event);
    } else {
      const left = this.#of(event).filter((entry) => entry.listener !== listener);
      this.#listeners.set(event, left);
    }
    return this;
  }

  removeListener(event: string, listener: Listener): this {
    return this.off(event, listener);
  }

  removeAllListeners(event?: string): this {
    return this.off(event);
  }

  listeners(event: string): Listener[] {
    return this.#of(event).map(({ listener }) => listener);
  }

  hasListeners(event: string): boolean {
    return this.#of(event).length > 0;
  }

  /** Hears every event that comes from the server, after its own listeners. */
  onAny(listener: AnyListener): this {
    this.#anyListeners.push(listener);
    return this;
  }

  offAny(listener?: AnyListener): this {
    this.#anyListeners = listener ? this.#anyListeners.filter((each) => each !== listener) : [];
    return this;
  }

  /** Calls the listeners of `event`. One that throws is reported and stops nobody. */
  protected tell(event: string, ...values: unknown[]): void {
    // The list as it is now: a listener may add and remove others.
    for (const entry of [...this.#of(event)]) {
      if (entry.isOnce) {
        this.#listeners.set(event, this.#of(event).filter((each) => each !== entry));
      }
      attempt(() => entry.listener(...values));
    }
  }

  protected tellAny(event: string, ...values: unknown[]): void {
    for (const listener of [...this.#anyListeners]) {
      attempt(() => listener(event, ...values));
    }
  }

  #of(event: string) {
    return this.#listeners.get(event) ?? [];
  }

  #add(event: string, listener: Listener, isOnce: boolean): this {
    this.#listeners.set(event, [...this.#of(event), { listener, isOnce }]);
    return this;
  }
}

/** Runs code of the page, whose errors are not ours and are not hidden either. */
export function attempt(code: () => void): void {
  try {
    code();
  } catch (error) {
    report(error);
  }
}

function report(error: unknown): void {
  const { reportError } = globalThis as { reportError?: (error: unknown) => void };
  if (reportError) {
    reportError(error);
  } else {
    console.error(error);
  }
}
