// A socket with the interface of socket.io-client on one connection of pusher-js.
//
// What comes from the server is not trusted to have a shape, what the page hands in
// neither, and a listener of the page that throws is reported and stops nobody.

import Pusher, { type Options as PusherOptions } from 'pusher-js';

import { Refusal, ask, asObject, type Authorization, type UserAuthorization } from './authorization.js';
import { Emitter, attempt } from './emitter.js';
import { Memberships } from './memberships.js';
import { Repeats, withoutId } from './repeats.js';
import { SignIn } from './sign_in.js';
import type { Server } from './server_url.js';
import {
  CLIENT_EVENTS,
  PRESENCE_ROOMS,
  TRANSLATIONS,
  roomFor,
  roomsOf,
  type Answer,
  type User,
  type Verbs,
} from './translations.js';

/** What `auth` of the options and of the socket may be. */
export type Auth = { token?: unknown; [more: string]: unknown } | ((tell: (auth: { token?: unknown }) => void) => void);

export interface SocketOptions {
  /** Whose token goes with each authorization; a function is asked on each connection. */
  auth?: Auth | undefined;
  /** Whether `io` connects at once; default true. */
  autoConnect?: boolean;
  /** `['websocket']` leaves out the ways for clients without WebSockets. */
  transports?: string[];
  /** Headers of the authorization requests. */
  extraHeaders?: Record<string, string>;
  /** Whether cookies go with authorization requests to another origin. */
  withCredentials?: boolean;

  /** The app's key; default the namespace of the URL, or `app-key`. */
  key?: string;
  /** Who authorizes rooms; default `/pusher/auth` of the server. */
  authEndpoint?: string;
  /** Who says who a token is; default `/pusher/user-auth` of the server. */
  userAuthEndpoint?: string;
  /** The text of the event `connected`. */
  greeting?: string;
  /** The rooms that a user is put into without asking. */
  defaultRooms?: (user: User) => string[];
  /** Rooms, by their first segment, that have members; see README.md. */
  presenceRooms?: string[];
  /** Client events that are told under their plain name; see README.md. */
  clientEvents?: string[];
  /** Further options for pusher-js. */
  pusher?: Partial<PusherOptions>;

  /** Options of socket.io-client without a meaning here are ignored. */
  [other: string]: unknown;
}

/** Told by the socket itself, never by a server. */
const RESERVED = ['connect', 'connect_error', 'disconnect', 'disconnecting', 'newListener', 'removeListener'];

/** Calls of `emit` that may wait for the first `connect`, and pings for their answer. */
const MAX_WAITING = 100;

const AUTH_PATIENCE_MS = 10_000;

export class Socket extends Emitter {
  id: string | undefined;
  connected = false;
  /** The page may put another token in before it connects again. */
  auth: Auth | undefined;

  #server: Server;
  #options: SocketOptions;
  #pusher: Pusher | undefined;
  #memberships!: Memberships;
  #signIn!: SignIn;
  #isSignInWanted: boolean;
  #early: Array<() => void> = [];
  #pings: Array<(answer: Answer) => void> = [];
  #repeats = new Repeats();
  #token: Promise<string | undefined> | undefined;
  #closeError: Error | undefined;
  #verbs: Verbs;

  constructor(server: Server, options: SocketOptions = {}) {
    super();
    this.#server = server;
    this.#options = options;
    this.auth = options.auth;
    this.#isSignInWanted = options.auth !== undefined;
    this.#verbs = this.#makeVerbs();
    if (options.autoConnect !== false) {
      this.connect();
    }
  }

  /** The client below, for all that this interface does not have. */
  get pusher(): Pusher | undefined {
    return this.#pusher;
  }

  get disconnected(): boolean {
    return !this.connected;
  }

  /** Whether it is connected or trying to be. */
  get active(): boolean {
    return ['connecting', 'connected', 'unavailable'].includes(this.#pusher?.connection.state ?? '');
  }

  /** The rooms that this client is in. */
  get rooms(): string[] {
    return this.#pusher ? this.#memberships.joined : [];
  }

  connect(): this {
    if (this.#pusher) {
      this.#pusher.connect();
    } else {
      this.#start();
    }
    return this;
  }

  open(): this {
    return this.connect();
  }

  disconnect(): this {
    if (this.#pusher) {
      this.#memberships.clear();
      this.#signIn.clear();
      this.#pusher.disconnect();
    }
    return this;
  }

  close(): this {
    return this.disconnect();
  }

  /** Does what the server of old did at `event`; the last argument may be a callback. */
  emit(event: string, ...values: unknown[]): this {
    const callback = typeof values.at(-1) === 'function' ? (values.pop() as (answer: Answer) => void) : undefined;
    this.emitWithAck(event, ...values).then((answer) => {
      if (callback) {
        attempt(() => callback(answer));
      } else if (!answer.success) {
        this.#complain(`${event}: ${answer.message}`);
      }
    });
    return this;
  }

  send(...values: unknown[]): this {
    return this.emit('message', ...values);
  }

  /** Never rejects: what cannot be done has `success: false` and says why. */
  async emitWithAck(event: string, ...values: unknown[]): Promise<Answer> {
    try {
      await this.#isStarted();
      return await this.#translate(event, values[0]);
    } catch (error) {
      const status = error instanceof Refusal && error.status !== 0 ? { status: error.status } : {};
      return { success: false, message: textOf(error), ...status };
    }
  }

  #start(): void {
    const { key, options } = this.#pusherOptions();
    const pusher = new Pusher(key, options);
    this.#pusher = pusher;
    const presenceRooms = this.#options.presenceRooms ?? PRESENCE_ROOMS;
    this.#memberships = new Memberships(pusher, presenceRooms, (room, refusal) =>
      this.#complain(`room ${room}: ${refusal.message}`),
    );
    this.#signIn = new SignIn(pusher, (refusal) => this.#tellConnectError(refusal.message, { status: refusal.status }));
    pusher.connection.bind('state_change', ({ current }: { current: string }) => this.#changed(current));
    // A connection that breaks is `connecting` only when the first pause is over.
    pusher.connection.bind('connecting_in', () => this.#lost('transport close'));
    pusher.connection.bind('error', (error: unknown) => this.#failed(error));
    pusher.connection.bind('message', (message: unknown) => this.#received(message));
    this.#early.splice(0).forEach((proceed) => proceed());
  }

  #pusherOptions(): { key: string; options: PusherOptions } {
    const { host, port, isSecure, namespace, origin } = this.#server;
    const { key, transports, authEndpoint, userAuthEndpoint, pusher } = this.#options;
    const isWebSocketOnly = transports?.length === 1 && transports[0] === 'websocket';
    const options: PusherOptions = {
      cluster: '',
      forceTLS: isSecure,
      wsHost: host,
      wsPort: port,
      wssPort: port,
      httpHost: host,
      httpPort: port,
      httpsPort: port,
      ...(isWebSocketOnly && { enabledTransports: ['ws', 'wss'] }),
      channelAuthorization: {
        customHandler: async ({ socketId, channelName }, callback) => {
          const fields = { ...this.#memberships.fieldsFor(channelName), channel_name: channelName };
          const answer = await this.#authorize(authEndpoint ?? `${origin}/pusher/auth`, socketId, fields);
          if (!this.#isPresent(socketId)) {
            return;
          }
          if (answer instanceof Refusal) {
            callback(answer, null);
            this.#memberships.failed(channelName, answer);
          } else {
            callback(null, answer);
          }
        },
      },
      userAuthentication: {
        customHandler: async ({ socketId }, callback) => {
          const answer = await this.#authorize(userAuthEndpoint ?? `${origin}/pusher/user-auth`, socketId, {});
          if (!this.#isPresent(socketId)) {
            return;
          }
          const refusal = this.#signIn.refusalOf(answer);
          if (refusal) {
            callback(refusal, null);
            this.#signIn.failed(refusal);
          } else {
            callback(null, answer as UserAuthorization);
          }
        },
      },
      ...pusher,
    };
    return { key: key ?? namespace ?? 'app-key', options };
  }

  /** What was asked for an earlier connection is worth nothing on this one. */
  #isPresent(socketId: string): boolean {
    return this.connected && this.id === socketId;
  }

  async #authorize(
    endpoint: string,
    socketId: string,
    fields: Record<string, string>,
  ): Promise<Authorization | Refusal> {
    try {
      const { extraHeaders: headers = {}, withCredentials = false } = this.#options;
      const token = await (this.#token ??= this.#askForToken());
      return await ask({ endpoint, token, fields: { ...fields, socket_id: socketId }, headers, withCredentials });
    } catch (error) {
      // Another token may be there the next time.
      this.#token = undefined;
      return error instanceof Refusal ? error : new Refusal(textOf(error), 0);
    }
  }

  async #askForToken(): Promise<string | undefined> {
    const { auth } = this;
    if (typeof auth !== 'function') {
      return tokenIn(auth);
    }
    let timer: ReturnType<typeof setTimeout> | undefined;
    try {
      return await new Promise((resolve, reject) => {
        timer = setTimeout(() => reject(new Refusal('no token from the page', 0)), AUTH_PATIENCE_MS);
        auth((told) => resolve(tokenIn(told)));
      });
    } finally {
      clearTimeout(timer);
    }
  }

  #changed(state: string): void {
    if (state === 'connected') {
      this.#opened();
    } else if (state === 'disconnected') {
      this.#lost(this.#closeError ? 'io server disconnect' : 'io client disconnect');
    } else if (this.connected) {
      // The server said why, or did not answer.
      this.#lost(this.#closeError ? 'transport close' : 'ping timeout');
    } else if (state === 'unavailable' || state === 'failed') {
      this.#tellConnectError(`the server at ${this.#server.origin} is ${state}`, {});
    }
  }

  #opened(): void {
    this.connected = true;
    this.id = this.#pusher?.connection.socket_id;
    this.#closeError = undefined;
    this.tell('connect');
    if (this.#isSignInWanted && !this.#pusher?.user.signin_requested) {
      this.#verbs.authenticate(undefined).catch(() => {
        // Told as `connect_error` already.
      });
    } else if (!this.#isSignInWanted) {
      this.tell('connected', { message: this.#greeting(), socketId: this.id });
    }
  }

  #lost(reason: string): void {
    if (!this.connected) {
      return;
    }
    this.connected = false;
    this.id = undefined;
    this.#token = undefined;
    this.#memberships.lost();
    this.#signIn.lost();
    this.#pings.splice(0).forEach((proceed) => proceed({ success: false, message: 'not connected' }));
    this.tell('disconnect', reason, this.#closeError);
  }

  #failed(error: unknown): void {
    const { type, data, error: cause } = asObject(error) ?? {};
    const detail = asObject(data) ?? asObject(asObject(cause)?.data);
    const code = typeof detail?.code === 'number' ? detail.code : undefined;
    const problem = Object.assign(new Error(String(detail?.message ?? 'transport error')), { data: { code } });
    if (!this.connected) {
      this.tell('connect_error', problem);
    } else if (type === 'PusherError' && code !== undefined && code < 4300) {
      this.#closeError = problem;
    } else if (type === 'PusherError' && code === undefined) {
      // About a room this is told once more, with the room's name.
      if (this.#signIn.isPending && !this.#memberships.isPending) {
        this.#signIn.failed(new Refusal(problem.message, 403));
      }
    } else if (type !== 'WebSocketError') {
      this.#complain(problem.message, problem.data);
    }
  }

  #received(message: unknown): void {
    const { event, channel, data } = asObject(message) ?? {};
    if (typeof event !== 'string') {
      return;
    }
    if (event.startsWith('pusher:') || event.startsWith('pusher_internal:')) {
      this.#receivedFromProtocol(event, String(channel), data);
    } else if (typeof channel === 'string' && this.#isHeard(channel) && !RESERVED.includes(event)) {
      this.#deliver(event, data);
    }
  }

  #receivedFromProtocol(event: string, channel: string, data: unknown): void {
    switch (event) {
      case 'pusher_internal:subscription_succeeded':
        this.#memberships.succeeded(channel);
        break;
      case 'pusher:subscription_error': {
        const { error, status } = asObject(data) ?? {};
        const text = typeof error === 'string' ? error : 'refused';
        this.#memberships.failed(channel, new Refusal(text, typeof status === 'number' ? status : 403));
        break;
      }
      case 'pusher:signin_success':
        this.#signedIn(data);
        break;
      case 'pusher:pong': {
        const answer = { success: true, event: 'pong', timestamp: new Date().toISOString() };
        this.#pings.splice(0).forEach((proceed) => proceed(answer));
        break;
      }
    }
  }

  #signedIn(data: unknown): void {
    const user = this.#signIn.succeeded(data);
    if (!user) {
      return;
    }
    const rooms = (this.#options.defaultRooms ?? roomsOf)(user);
    for (const room of rooms) {
      // Told by `#complain` if it is refused.
      Promise.resolve().then(() => this.#memberships.join(room, {}, false)).catch(() => {});
    }
    const { id: userId, ...more } = user;
    const { id: socketId } = this;
    this.tell('connected', { message: this.#greeting(), userId, ...more, socketId });
    this.tell('authenticated', { userId, ...more, socketId, rooms });
  }

  #deliver(event: string, data: unknown): void {
    const plainName = event.startsWith('client-') ? event.slice('client-'.length) : undefined;
    if (plainName === undefined && this.#repeats.has(event, data)) {
      return;
    }
    const names = [event];
    // Whoever is in the room can send these. Under the plain name of any event they
    // would pass for the server's.
    if (plainName !== undefined && (this.#options.clientEvents ?? CLIENT_EVENTS).includes(plainName)) {
      names.push(plainName);
    }
    for (const name of names) {
      this.tell(name, withoutId(data));
      this.tellAny(name, withoutId(data));
    }
  }

  /** Whether events of `channel` are for this page: it may have left meanwhile. */
  #isHeard(channel: string): boolean {
    return channel.startsWith('#server-to-user-') || this.#pusher?.channel(channel)?.subscribed === true;
  }

  #makeVerbs(): Verbs {
    const memberships = () => this.#memberships;
    return {
      join: async (room, fields) => memberships().join(room, fields),
      leave: async (room) => memberships().leave(room),
      whisper: async (room, event, data) => memberships().whisper(room, event, data),
      authenticate: async (token) => {
        if (typeof token === 'string') {
          this.auth = { token };
          this.#token = undefined;
        }
        this.#isSignInWanted = true;
        return this.#signIn.begin();
      },
      ping: async () => {
        if (this.#pings.length >= MAX_WAITING || !this.#pusher?.send_event('pusher:ping', {})) {
          throw new Refusal('not connected', 0);
        }
        return new Promise((resolve) => this.#pings.push(resolve));
      },
      get rooms() {
        return memberships().wished;
      },
    };
  }

  async #translate(event: string, argument: unknown): Promise<Answer> {
    if (typeof event !== 'string' || RESERVED.includes(event)) {
      throw new Refusal(`${String(event)} cannot be sent`, 0);
    }
    if (Object.hasOwn(TRANSLATIONS, event)) {
      return TRANSLATIONS[event]!(this.#verbs, argument);
    }
    const room = roomFor(this.#verbs, argument);
    if (room === undefined) {
      throw new Refusal('nobody to send it to: name a room as { room: … }', 0);
    }
    return this.#verbs.whisper(room, event, argument);
  }

  /** Waits for the first `connect()`, which makes the client below. */
  async #isStarted(): Promise<void> {
    if (this.#pusher) {
      return;
    }
    if (this.#early.length >= MAX_WAITING) {
      throw new Refusal(`${MAX_WAITING} events wait for connect() already`, 0);
    }
    await new Promise<void>((resolve) => this.#early.push(resolve));
  }

  #greeting(): string {
    return this.#options.greeting ?? 'Connected';
  }

  #tellConnectError(message: string, data: object): void {
    this.tell('connect_error', Object.assign(new Error(message), { data }));
  }

  /** Something went wrong that nobody waits for. */
  #complain(message: string, data: object = {}): void {
    if (this.hasListeners('error')) {
      this.tell('error', Object.assign(new Error(message), { data }));
    } else {
      console.warn(`fanfare-socketio-shim: ${message}`);
    }
  }
}

function tokenIn(auth: unknown): string | undefined {
  const token = asObject(auth)?.token;
  return typeof token === 'string' && token !== '' ? token.replace(/^Bearer /, '') : undefined;
}

function textOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
