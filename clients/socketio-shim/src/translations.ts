// What `emit` meant to the Socket.IO servers of old, in terms of rooms. An event that
// is not listed goes to the others in a room, as a client event.

import { asObject } from './authorization.js';

/** What the callback of `emit` gets. */
export interface Answer {
  success: boolean;
  message?: string;
  [more: string]: unknown;
}

/** What a translation may do. */
export interface Verbs {
  join(room: unknown, fields?: Record<string, string>): Promise<Answer>;
  leave(room: unknown): Promise<Answer>;
  /** Sends a client event to the others in a room. */
  whisper(room: unknown, event: string, data: unknown): Promise<Answer>;
  authenticate(token: unknown): Promise<Answer>;
  ping(): Promise<Answer>;
  /** Rooms that the page has joined. */
  readonly rooms: string[];
}

export type Translation = (verbs: Verbs, argument: unknown) => Promise<Answer>;

export interface User {
  id: string;
  role?: string;
  name?: string;
}

/** Rooms whose channel lists its members; by the first segment of the room's name. */
export const PRESENCE_ROOMS = ['online', 'sto-display', 'sto-mechanics', 'chat3-online'];

/** Client events that are told under their plain name, see README.md. */
export const CLIENT_EVENTS = ['typing:start', 'typing:stop'];

/** The rooms that a server of old put somebody into by itself. */
export function roomsOf({ id, role }: User): string[] {
  if (role === undefined) {
    return [`user:${id}`];
  }
  const rooms = ['all', 'online', `role:${role}`];
  if (role === 'operator' || role === 'callcentre_operator') {
    rooms.push('operators');
  }
  if (role === 'director') {
    rooms.push('directors');
  }
  return rooms;
}

export const TRANSLATIONS: Record<string, Translation> = {
  authenticate: (verbs, argument) => verbs.authenticate(asObject(argument)?.token ?? argument),
  ping: (verbs) => verbs.ping(),

  'join-room': (verbs, argument) => verbs.join(roomIn(argument)),
  'leave-room': (verbs, argument) => verbs.leave(roomIn(argument)),

  // The chat.
  'dialog:join': (verbs, argument) => verbs.join(named('dialog', argument)),
  'dialog:leave': (verbs, argument) => verbs.leave(named('dialog', argument)),

  // The queue of the car service.
  register_display: (verbs, argument) => {
    const { displayId, filters } = asObject(argument) ?? {};
    const fields = { displayId: String(displayId), filters: JSON.stringify(filters ?? {}) };
    return verbs.join(named('sto-display', displayId), fields);
  },
  unregister_display: (verbs, argument) => verbs.leave(displayIn(verbs, argument)),
  update_filters: (verbs, argument) => verbs.whisper(displayIn(verbs, argument), 'update_filters', argument),
  request_queue_update: (verbs, argument) =>
    verbs.whisper(displayIn(verbs, argument), 'request_queue_update', argument ?? {}),
  register_mechanic: async (verbs, argument) => {
    const { mechanicId, zone } = asObject(argument) ?? {};
    const fields = { mechanicId: String(mechanicId), ...(isName(zone) && { zone: String(zone) }) };
    const registered = await verbs.join('sto-mechanics', fields);
    if (!registered.success) {
      return registered;
    }
    return verbs.join(isName(zone) ? named('sto-zone', zone) : 'sto-orders');
  },
};

/** The room that an event without a translation is for. */
export function roomFor(verbs: Verbs, data: unknown): unknown {
  const { room, dialogId } = asObject(data) ?? {};
  if (room !== undefined) {
    return room;
  }
  if (dialogId !== undefined) {
    return named('dialog', dialogId);
  }
  return verbs.rooms.length === 1 ? verbs.rooms[0] : undefined;
}

function roomIn(argument: unknown): unknown {
  return asObject(argument)?.room ?? argument;
}

function displayIn(verbs: Verbs, argument: unknown): unknown {
  const { displayId } = asObject(argument) ?? {};
  return displayId === undefined
    ? verbs.rooms.find((room) => room.startsWith('sto-display:'))
    : named('sto-display', displayId);
}

/** `kind:id`, or what can be no room if there is no id. */
function named(kind: string, id: unknown): string | undefined {
  return isName(id) ? `${kind}:${id}` : undefined;
}

function isName(id: unknown): boolean {
  return (typeof id === 'string' && id !== '') || Number.isFinite(id);
}
