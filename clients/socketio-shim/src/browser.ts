// For pages without a bundler: `io` as a global, with pusher-js inside.

import { io, ioWith } from './index.js';
import { decodeRoom, encodeRoom } from './rooms.js';

Object.assign(globalThis, { io: Object.assign(io, { ioWith, encodeRoom, decodeRoom }) });
