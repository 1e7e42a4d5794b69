// The interface of socket.io-client on top of pusher-js.

import { serverOf } from './server_url.js';
import { Socket, type SocketOptions } from './socket.js';

export type { Answer, User } from './translations.js';
export { Socket, type Auth, type SocketOptions } from './socket.js';

export interface Io {
  (address: string, options?: SocketOptions): Socket;
  (options?: SocketOptions): Socket;
}

/**
 * An `io` with options that every socket gets, such as the app's key: for code that
 * is to stay as it is but for the line that imports `io`.
 */
export function ioWith(defaults: SocketOptions): Io {
  return (address?: string | SocketOptions, options?: SocketOptions) =>
    typeof address === 'object'
      ? new Socket(serverOf(undefined), { ...defaults, ...address })
      : new Socket(serverOf(address), { ...defaults, ...options });
}

/** A socket on the server at `address`, by default the one that the page is from. */
export const io: Io = ioWith({});

export default io;
