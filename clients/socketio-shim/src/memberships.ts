// The rooms that this client is in or on its way into, over reconnections.
//
// pusher-js subscribes again by itself after a reconnection. What it does not do is
// ask again when the authorization endpoint was away for a moment, and tell which
// answer belongs to which wish.

import type Pusher from 'pusher-js';

import { Refusal } from './authorization.js';
import { type Pause, pauses } from './pauses.js';
import { channelOfRoom } from './rooms.js';
import type { Answer } from './translations.js';

/** Wishes that may wait for one room: joins, and client events for it. */
const MAX_WAITING = 100;

interface Membership {
  room: string;
  channel: string;
  /** What the authorization request carries besides the channel. */
  fields: Record<string, string>;
  /** Whether the page asked for it, or the user's role. */
  isWished: boolean;
  isJoined: boolean;
  waiting: Array<(refusal?: Refusal) => void>;
  pause: Pause;
}

export class Memberships {
  #byChannel = new Map<string, Membership>();

  /** `refused` hears that a room was lost that nobody waits for. */
  constructor(
    private readonly pusher: Pusher,
    private readonly presenceRooms: string[],
    private readonly refused: (room: string, refusal: Refusal) => void,
  ) {}

  /** The rooms that this client is in. */
  get joined(): string[] {
    return this.#all().filter(({ isJoined }) => isJoined).map(({ room }) => room);
  }

  /** Whether this client is on its way into some room. */
  get isPending(): boolean {
    return this.#all().some(({ isJoined }) => !isJoined);
  }

  /** The rooms that the page wants to be in. */
  get wished(): string[] {
    return this.#all().filter(({ isWished }) => isWished).map(({ room }) => room);
  }

  join(room: unknown, fields: Record<string, string> = {}, isWished = true): Promise<Answer> {
    const channel = channelOfRoom(room, this.#prefix(room));
    const name = room as string;
    let membership = this.#byChannel.get(channel);
    const isAsOther = membership?.isJoined && JSON.stringify(membership.fields) !== JSON.stringify(fields);
    if (isAsOther && isWished) {
      this.leave(room);
      membership = undefined;
    }
    if (!membership) {
      const pause = pauses(() => this.pusher.subscribe(channel));
      membership = { room: name, channel, fields, isWished, isJoined: false, waiting: [], pause };
      this.#byChannel.set(channel, membership);
      this.pusher.subscribe(channel);
    }
    membership.isWished ||= isWished;
    return this.#whenJoined(membership, () => ({ success: true, room: name, message: `Joined room ${name}` }));
  }

  leave(room: unknown): Answer {
    const channel = channelOfRoom(room, this.#prefix(room));
    const membership = this.#byChannel.get(channel);
    if (membership) {
      this.#forget(membership, new Refusal(`left room ${room}`, 0));
    }
    return { success: true, room, message: `Left room ${room}` };
  }

  /** Sends a client event to the others in `room`, as soon as this client is in it. */
  whisper(room: unknown, event: string, data: unknown): Promise<Answer> {
    const membership = this.#byChannel.get(channelOfRoom(room, this.#prefix(room)));
    if (!membership) {
      throw new Refusal(`not in room ${room}`, 0);
    }
    return this.#whenJoined(membership, () => {
      const isSent = this.pusher.send_event(`client-${event}`, data ?? null, membership.channel);
      return isSent ? { success: true } : { success: false, message: 'not connected' };
    });
  }

  fieldsFor(channel: string): Record<string, string> {
    return this.#byChannel.get(channel)?.fields ?? {};
  }

  /** The server has let this client in. */
  succeeded(channel: string): void {
    const membership = this.#byChannel.get(channel);
    if (membership) {
      membership.isJoined = true;
      membership.pause.reset();
      membership.waiting.splice(0).forEach((proceed) => proceed());
    }
  }

  /** The endpoint or the server did not let this client in. */
  failed(channel: string, refusal: Refusal): void {
    const membership = this.#byChannel.get(channel);
    if (!membership) {
      return;
    }
    if (refusal.isPassing) {
      membership.pause.begin();
      return;
    }
    if (membership.waiting.length === 0 || !membership.isWished) {
      this.refused(membership.room, refusal);
    }
    this.#forget(membership, refusal);
  }

  /** The connection is gone; pusher-js joins again when there is another one. */
  lost(): void {
    for (const membership of this.#byChannel.values()) {
      membership.isJoined = false;
      membership.pause.reset();
    }
  }

  /** Leaves all rooms. */
  clear(): void {
    for (const membership of this.#all()) {
      this.#forget(membership, new Refusal('disconnected', 0));
    }
  }

  #all(): Membership[] {
    return [...this.#byChannel.values()];
  }

  #prefix(room: unknown) {
    const [kind] = String(room).split(':', 1);
    return this.presenceRooms.includes(kind ?? '') ? 'presence-' : 'private-';
  }

  #forget(membership: Membership, refusal: Refusal): void {
    this.#byChannel.delete(membership.channel);
    membership.pause.reset();
    const channel = this.pusher.channel(membership.channel);
    if (channel && refusal.status !== 0) {
      // After a refusal by the server pusher-js goes on waiting for the channel,
      // and would never ask for it again.
      channel.subscriptionPending = false;
    }
    this.pusher.unsubscribe(membership.channel);
    membership.waiting.splice(0).forEach((proceed) => proceed(refusal));
  }

  #whenJoined(membership: Membership, act: () => Answer): Promise<Answer> {
    if (membership.isJoined) {
      return Promise.resolve(act());
    }
    if (membership.waiting.length >= MAX_WAITING) {
      throw new Refusal(`${MAX_WAITING} wishes wait for room ${membership.room} already`, 0);
    }
    return new Promise((resolve, reject) => {
      membership.waiting.push((refusal) => {
        try {
          if (refusal) {
            throw refusal;
          }
          resolve(act());
        } catch (error) {
          reject(error);
        }
      });
    });
  }
}
