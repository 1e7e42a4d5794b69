// Sessions of a Fanfare server, for pages with pusher-js.

const NAME = /^[A-Za-z0-9_-]{1,128}$/;
const HAS_ID = /"event_id":"[0-9-]+"\}$/;
const GAPS = ['fanfare:gap', 'pusher:fanfare_gap'];

/** A name for this device's session, the same as long as `storage` keeps it. */
export function sessionName(storage = globalThis.localStorage, key = 'fanfare-session') {
  const kept = storage.getItem(key);
  if (kept !== null && NAME.test(kept)) {
    return kept;
  }
  // `randomUUID` is there on pages with HTTPS only.
  const bytes = globalThis.crypto.getRandomValues(new Uint8Array(16));
  const name = Array.from(bytes, (byte) => byte.toString(16).padStart(2, '0')).join('');
  storage.setItem(key, name);
  return name;
}

/** The options of pusher-js that name a session, to be spread among the others. */
export function sessionOptions(name) {
  if (!NAME.test(name)) {
    throw new TypeError(`a session has 1 to 128 letters, digits, - and _, not "${name}"`);
  }
  return { wsPath: `/s/${name}`, httpPath: `/s/${name}/pusher` };
}

/**
 * Follows the session of `pusher`: drops events that the page has handled already,
 * and tells of gaps and replays. To be called right after `new Pusher`.
 */
export function followSession(pusher, { onGap = () => {}, onReplay = () => {} } = {}) {
  const session = { duplicates: 0 };
  // By channel: the newest event that the page was given. Ids grow, as texts too.
  const newest = new Map();
  const followed = new WeakSet();

  const isDuplicate = (text) => {
    if (typeof text !== 'string' || !HAS_ID.test(text)) {
      return false;
    }
    const { channel, event_id: id } = JSON.parse(text);
    if (id <= (newest.get(channel) ?? '')) {
      session.duplicates += 1;
      return true;
    }
    newest.set(channel, id);
    return false;
  };

  // pusher-js leaves the id out of what it hands on, so it is read on the way there.
  const follow = () => {
    const transport = pusher.connection.connection?.transport;
    if (transport === undefined || transport === null || followed.has(transport)) {
      return;
    }
    followed.add(transport);
    const emit = transport.emit;
    transport.emit = function (name, message, ...more) {
      return name === 'message' && isDuplicate(message?.data) ? this : emit.call(this, name, message, ...more);
    };
  };

  pusher.connection.bind('connected', follow);
  follow();
  pusher.connection.bind('message', ({ event, channel, data }) => {
    if (GAPS.includes(event)) {
      onGap({ channel, reason: data.reason });
    } else if (event === 'pusher:ping' && data?.replayed > 0) {
      onReplay({ channel: data.channel, events: data.replayed });
    }
  });
  return session;
}
