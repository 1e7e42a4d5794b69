// Compiled only: what the types promise.

import Pusher from 'pusher-js';

import { followSession, sessionName, sessionOptions, type Gap } from '../src/index.js';

const pusher = new Pusher('key', { cluster: '', ...sessionOptions(sessionName()) });
const reload = ({ channel, reason }: Gap): string => (reason === 'lost' ? channel : reason);
const session = followSession(pusher, {
  onGap: reload,
  onReplay: ({ channel, events }) => `${channel} ${events.toFixed()}`,
});

export const count: number = session.duplicates;
// @ts-expect-error It is counted, not set.
session.duplicates = 0;
