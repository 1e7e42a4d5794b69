// Names of rooms as channels: one reversible rule for every foreign name.
//
// A room is text in which `:` separates segments, such as `city:Саратов`; a channel
// name has few characters. The server knows the same rule, and both are tested with
// `clients/room-vectors.json`.

/** Longest channel name that the server takes, in characters. */
const MAX_CHANNEL_LENGTH = 164;

const PLAIN = /^[A-Za-z0-9_.,@-]+$/;
const LONE_SURROGATE = /\p{Surrogate}/u;
const PREFIX = /^(?:private|presence)-/;

export type Prefix = 'private-' | 'presence-';

/** The text is not the name of a room, or not of a room's channel. */
export class RoomError extends Error {
  override name = 'RoomError';
}

/**
 * The part of a channel name that stands for `room`.
 *
 * The text is brought into Unicode's form C first: keyboards and file systems spell
 * "й" in two ways, and both mean one room.
 */
export function encodeRoom(room: string): string {
  if (LONE_SURROGATE.test(room)) {
    throw new RoomError('the name of a room is not well-formed text');
  }
  return room
    .normalize('NFC')
    .split(':')
    .map((segment) => (PLAIN.test(segment) ? segment : `=${toBase64Url(segment)}`))
    .join(';');
}

/**
 * The room that the part of a channel name behind its prefix stands for.
 *
 * Throws a `RoomError` for what `encodeRoom` never makes: with two channels for one
 * room, the second would be a way around the first one's rules.
 */
export function decodeRoom(name: string): string {
  const room = name
    .split(';')
    .map((segment) => (segment.startsWith('=') ? fromBase64Url(segment.slice(1)) : segment))
    .join(':');
  if (encodeRoom(room) !== name) {
    throw new RoomError(`not the canonical name of a room: ${name}`);
  }
  return room;
}

/** The channel of `room`. Throws a `RoomError` for what cannot be one. */
export function channelOfRoom(room: unknown, prefix: Prefix = 'private-'): string {
  if (typeof room !== 'string' || room === '') {
    throw new RoomError('the name of a room is text');
  }
  // Encoding makes nothing shorter; without this, megabytes would be encoded first.
  const channel = room.length > MAX_CHANNEL_LENGTH ? room : prefix + encodeRoom(room);
  if (channel.length > MAX_CHANNEL_LENGTH) {
    throw new RoomError(`the name of a room is too long: its channel has over ${MAX_CHANNEL_LENGTH} characters`);
  }
  return channel;
}

/** The room of a whole channel name. Throws a `RoomError` for other channels. */
export function roomOfChannel(channel: string): string {
  if (!PREFIX.test(channel)) {
    throw new RoomError(`not the channel of a room: ${channel}`);
  }
  return decodeRoom(channel.replace(PREFIX, ''));
}

function toBase64Url(text: string): string {
  const bytes = Array.from(new TextEncoder().encode(text), (byte) => String.fromCharCode(byte)).join('');
  return btoa(bytes).replace(/\+/g, '-').replace(/\//g, '_').replace(/=+$/, '');
}

function fromBase64Url(text: string): string {
  try {
    const bytes = atob(text.replace(/-/g, '+').replace(/_/g, '/'));
    return new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(
      Uint8Array.from(bytes, (byte) => byte.charCodeAt(0)),
    );
  } catch {
    throw new RoomError(`not the canonical name of a room: =${text}`);
  }
}
