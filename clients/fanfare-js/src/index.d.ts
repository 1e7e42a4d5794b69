import type Pusher from 'pusher-js';

/** Why a page may have missed something; it should fetch its state from the back end. */
export type GapReason =
  | 'new'
  | 'history'
  | 'unknown_event'
  | 'other_user'
  | 'unavailable'
  | 'lost'
  | (string & {});

export interface Gap {
  channel: string;
  reason: GapReason;
}

/** What a page was given after a reconnect, before live events. */
export interface Replay {
  channel: string;
  /** How many, with those that the page had handled already. */
  events: number;
}

export interface Handlers {
  onGap?: (gap: Gap) => void;
  onReplay?: (replay: Replay) => void;
}

export interface Session {
  /** Events that were dropped because the page had handled them. */
  readonly duplicates: number;
}

/** A name for this device's session, the same as long as `storage` keeps it. */
export function sessionName(storage?: Pick<Storage, 'getItem' | 'setItem'>, key?: string): string;

/** The options of pusher-js that name a session, to be spread among the others. */
export function sessionOptions(name: string): { wsPath: string; httpPath: string };

/**
 * Follows the session of `pusher`: drops events that the page has handled already,
 * and tells of gaps and replays. To be called right after `new Pusher`.
 */
export function followSession(pusher: Pusher, handlers?: Handlers): Session;
