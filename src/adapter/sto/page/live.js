// The connection of a page: pusher-js as it is, what it is allowed, and since when it is
// gone. It comes back by itself.

import { say, timeOf } from './words.js';

/** Where the server's paths begin; a prefix may stand before them. */
export const ROOT = new URL('../../../', import.meta.url);

const FIRST_PAUSE_MS = 1_000;
const LONGEST_PAUSE_MS = 15_000;
const REQUEST_MS = 10_000;
const TOKEN = 'fanfare-sto-token';

/** A request that the server refuses; `status` says how. */
export class Refused extends Error {
  constructor(status, message) {
    super(message);
    this.status = status;
  }

  /** Whether asking again later may help. */
  get isPassing() {
    return this.status === 429 || this.status >= 500;
  }
}

/** The channel of a room, by the rule that all adapters share. */
export function channelOf(kind, room) {
  const part = (text) => {
    if (/^[A-Za-z0-9_.,@-]+$/.test(text)) {
      return text;
    }
    const bytes = String.fromCharCode(...new TextEncoder().encode(text));
    return `=${btoa(bytes).replace(/\+/g, '-').replace(/\//g, '_').replace(/=+$/, '')}`;
  };
  return `${kind}-${room.normalize('NFC').split(':').map(part).join(';')}`;
}

/** Asks the server; `path` is relative to its root. Rejects with [`Refused`] or a network error. */
export async function ask(path, { form, json, token } = {}) {
  const body = form ? new URLSearchParams(form) : json && JSON.stringify(json);
  const answer = await fetch(new URL(path, ROOT), {
    method: body ? 'POST' : 'GET',
    body,
    cache: 'no-store',
    signal: AbortSignal.timeout(REQUEST_MS),
    headers: {
      ...(json && { 'Content-Type': 'application/json' }),
      ...(token && { Authorization: `Bearer ${token}` }),
    },
  });
  const value = await answer.json().catch(() => ({}));
  if (!answer.ok) {
    throw new Refused(answer.status, value.message ?? answer.statusText);
  }
  return value;
}

/** Tries until it works or is refused for good; `isWanted` ends it too. */
export async function patiently(attempt, { isWanted = () => true, onTrouble = () => {} } = {}) {
  for (let pause = FIRST_PAUSE_MS; ; pause = Math.min(pause * 2, LONGEST_PAUSE_MS)) {
    try {
      return await attempt();
    } catch (error) {
      if ((error instanceof Refused && !error.isPassing) || !isWanted()) {
        throw error;
      }
      onTrouble(error);
    }
    // Not all pages of a house at the same moment.
    await new Promise((resolve) => setTimeout(resolve, pause * (0.5 + Math.random() / 2)));
  }
}

/**
 * Connects. `params` says what the server is told about each channel, `token` who asks,
 * and `onRefused(channel, error)` hears of a channel that is closed to this page.
 */
export async function connect({ params = () => ({}), token, onRefused }) {
  const state = new State();
  const settings = await patiently(async () => {
    const found = await ask('adapters/sto/page/settings.json');
    await load(found.pusherJs);
    return found;
  }, { onTrouble: () => state.lost() });
  const isSecure = ROOT.protocol === 'https:';
  const port = Number(ROOT.port) || (isSecure ? 443 : 80);
  const pusher = new window.Pusher(settings.key, {
    cluster: '',
    wsHost: ROOT.hostname,
    wsPort: port,
    wssPort: port,
    wsPath: ROOT.pathname.replace(/\/$/, ''),
    forceTLS: isSecure,
    enabledTransports: isSecure ? ['ws', 'wss'] : ['ws'],
    disableStats: true,
    channelAuthorization: {
      customHandler: ({ socketId, channelName }, callback) => {
        const isWanted = () => pusher.connection.socket_id === socketId;
        const form = { socket_id: socketId, channel_name: channelName, ...params(channelName) };
        patiently(() => ask('adapters/sto/v1/auth', { form, token }), { isWanted }).then(
          (answer) => isWanted() && callback(null, answer),
          (error) => {
            if (isWanted()) {
              callback(error, null);
              onRefused(channelName, error);
            }
          },
        );
      },
    },
  });
  pusher.connection.bind('state_change', ({ current }) => (current === 'connected' ? state.found() : state.lost()));
  return pusher;
}

/** Who the page is: `#token=…` of its address, or what was typed in before. */
export function knownToken() {
  const given = new URLSearchParams(location.hash.slice(1)).get('token');
  return given ?? sessionStorage.getItem(TOKEN) ?? undefined;
}

/** Asks for a token in the page; opens it anew with what is typed in. */
export function askToken(reason) {
  const form = document.getElementById('sign-in');
  document.body.dataset.state = 'refused';
  document.getElementById('sign-in-reason').textContent = say(reason);
  form.addEventListener('submit', (event) => {
    event.preventDefault();
    sessionStorage.setItem(TOKEN, form.elements.token.value.trim());
    history.replaceState(null, '', location.pathname + location.search);
    location.reload();
  });
  form.elements.token.focus();
}

/** Says at the page's foot since when there is no connection. */
class State {
  #since = new Date();
  #isLive = false;
  #banner = document.getElementById('offline');
  #light = document.getElementById('light');
  // A new page is not offline before it has had the time to connect.
  #patience = setTimeout(() => this.#show(), 4_000);

  found() {
    clearTimeout(this.#patience);
    this.#isLive = true;
    this.#show();
  }

  lost() {
    if (!this.#isLive) {
      return;
    }
    this.#isLive = false;
    this.#since = new Date();
    // Within this time pusher-js is usually back, and nobody need be troubled.
    this.#patience = setTimeout(() => this.#show(), 1_500);
  }

  #show() {
    const time = timeOf(this.#since);
    document.body.dataset.connection = this.#isLive ? 'live' : 'offline';
    this.#banner.textContent = this.#isLive ? '' : say('offline', { time });
    if (this.#light) {
      this.#light.textContent = this.#isLive ? say('live') : say('offlineShort', { time });
    }
  }
}

function load(url) {
  return new Promise((resolve, reject) => {
    if (window.Pusher) {
      resolve();
      return;
    }
    const script = document.createElement('script');
    script.src = url;
    script.onload = resolve;
    script.onerror = () => {
      script.remove();
      reject(new Error(`${url} cannot be loaded`));
    };
    document.head.append(script);
  });
}
