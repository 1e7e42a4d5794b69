// Which events were delivered before.
//
// Socket.IO delivers an event for several rooms once to somebody who is in all of
// them, Pusher once for each channel. The server marks such an event with one
// `_eid` for all channels.

const REMEMBERED_MS = 60_000;

/** How many are remembered; 4,096 in 60 s are 68 events a second. */
const MAX_REMEMBERED = 4_096;

/** The server's are ULIDs of 26 characters; what is much longer is none of them. */
const MAX_ID_LENGTH = 64;

export class Repeats {
  // In the order of arrival, which a Map keeps.
  #arrivals = new Map<string, number>();

  /** Whether `event` with this data came before; remembers it otherwise. */
  has(event: string, data: unknown, now = Date.now()): boolean {
    const id = idOf(data);
    if (id === undefined) {
      return false;
    }
    this.#forget(now);
    const key = `${id} ${event}`;
    if (this.#arrivals.has(key)) {
      return true;
    }
    this.#arrivals.set(key, now);
    return false;
  }

  get size(): number {
    return this.#arrivals.size;
  }

  #forget(now: number): void {
    for (const [key, arrival] of this.#arrivals) {
      if (now - arrival < REMEMBERED_MS && this.#arrivals.size < MAX_REMEMBERED) {
        return;
      }
      this.#arrivals.delete(key);
    }
  }
}

/** The data as the back end sent it, without the server's mark. */
export function withoutId(data: unknown): unknown {
  if (idOf(data) === undefined) {
    return data;
  }
  const { _eid, ...rest } = data as Record<string, unknown>;
  return rest;
}

function idOf(data: unknown): string | undefined {
  if (typeof data !== 'object' || data === null || Array.isArray(data)) {
    return undefined;
  }
  const { _eid: id } = data as { _eid?: unknown };
  return typeof id === 'string' && id !== '' && id.length <= MAX_ID_LENGTH ? id : undefined;
}
