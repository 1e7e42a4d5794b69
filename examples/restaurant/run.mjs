// Starts Fanfare and the restaurant with sample traffic, and stops everything at
// Ctrl-C. `start` calls it.

import { fileURLToPath } from 'node:url';

import { startFanfare, startNode, stop, stopAtSignals } from '../support/processes.mjs';
import { playRestaurant } from './sample_traffic.mjs';

// What everybody knows; the server then listens on this machine only.
const CREDENTIALS = { PUSHER_APP_ID: 'app-id', PUSHER_KEY: 'app-key', PUSHER_SECRET: 'app-secret' };

const { PORT = '3000', FANFARE_PORT = '6001', METRICS_PORT = '9601' } = process.env;

stopAtSignals('restaurant');

try {
  const config = fileURLToPath(new URL('fanfare.toml', import.meta.url));
  const fanfare = await startFanfare({ port: FANFARE_PORT, metricsPort: METRICS_PORT, config });
  const url = await startNode('the back end', 'back_end/main.mjs', {
    ...CREDENTIALS,
    PUSHER_HOST: '127.0.0.1',
    PUSHER_PORT: fanfare,
    PORT,
    DATABASE: process.env.DATABASE ?? ':memory:',
    // Eight minutes of the kitchen's clock in one, so that there is something to see.
    PACE: process.env.PACE ?? '8',
  });
  console.log(`
  The kitchen     ${url}/kitchen
  The tables      ${url}/waiter
  The stock       ${url}/stock
  For guests      ${url}/board

  Orders come by themselves. Open two of these side by side. Ctrl-C stops everything.
`);
  await playRestaurant(url);
} catch (error) {
  console.error(`restaurant: ${error.message}`);
  await stop(1);
}
