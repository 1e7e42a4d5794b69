// The connection that events come through: Pusher if there is a key, otherwise the
// plain WebSocket of a development machine. Hooks do not see the difference.

import type { Connection, Settings } from './connection';
import { PusherConnection } from './pusher';
import { RawConnection } from './websocket';

/** Whether pages connect through Pusher. */
export function isPusherEnabled(settings: Settings): boolean {
  return settings.key !== '';
}

export function connect(settings: Settings): Connection {
  return isPusherEnabled(settings) ? new PusherConnection(settings) : new RawConnection(settings.wsUrl);
}
