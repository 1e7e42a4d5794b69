// Starts the server and the desk, and stops both at Ctrl-C. `--once` checks that what
// is broadcast arrives at an operator, each thing once, and ends; `start` calls it.

import { randomBytes } from 'node:crypto';

import { ioWith } from '../../clients/socketio-shim/dist/index.js';
import { startFanfare, startNode, stop, stopAtSignals, within } from '../support/processes.mjs';

const CITY = 'Саратов';

const isCheck = process.argv.includes('--once');
const { PORT = '3000', FANFARE_PORT = '6001', METRICS_PORT = '9601' } = process.env;

stopAtSignals('call-centre');

try {
  await (isCheck ? check() : demonstrate());
} catch (error) {
  console.error(`call-centre: ${error.message}`);
  await stop(1);
}

async function demonstrate() {
  const { desk } = await startAll({ port: FANFARE_PORT, metricsPort: METRICS_PORT, deskPort: PORT, traffic: 'on' });
  console.log(`
  Open ${desk} in two tabs. Calls and orders come by themselves.
  Stop this with Ctrl-C, and the desks say since when they are offline.
`);
}

async function check() {
  const { desk, server } = await startAll({ port: 0, metricsPort: 0, deskPort: 0, traffic: 'off' });
  for (const path of ['/', '/desk.js', '/desk.css', '/socketio-shim.js', '/settings', '/state']) {
    await ask(desk + path);
  }
  const { token } = await (await ask(`${desk}/session`, { name: 'Check' })).json();
  const socket = ioWith({ auth: { token } })(server);
  const heard = [];
  const arrived = new Promise((resolve) => {
    socket.onAny((event, { id } = {}) => {
      heard.push(`${event} ${id ?? ''}`.trim());
      if (event === 'notification') {
        resolve();
      }
    });
  });
  for (const room of ['operators', `city:${CITY}`]) {
    const joined = socket.emitWithAck('join-room', { room });
    const { success, message } = await within(joined, `the room ${room}`);
    if (!success) {
      throw new Error(`the room ${room} is closed: ${message}`);
    }
  }
  await within(until(() => socket.rooms.includes('all')), 'the room of all');
  await ask(`${desk}/sample`, { city: CITY });
  await within(arrived, 'the sample call, order and notification');
  socket.disconnect();
  const ofSample = heard.filter((each) => !each.startsWith('user:'));
  if (ofSample.join(', ') !== 'call:new 1, order:new 1, notification') {
    throw new Error(`an operator heard ${ofSample.join(', ')}`);
  }
  console.log(`an operator in two rooms heard ${ofSample.join(', ')}: each once`);
  await stop(0);
}

async function startAll({ port, metricsPort, deskPort, traffic }) {
  // Made anew at each start: tokens of an earlier run are worth nothing.
  const secrets = { JWT_SECRET: randomBytes(32).toString('hex'), WEBHOOK_TOKEN: randomBytes(16).toString('hex') };
  const fanfare = await startFanfare({
    port,
    metricsPort,
    environment: {
      JWT_SECRET: secrets.JWT_SECRET,
      FANFARE_ADAPTERS_ROOMS_ENABLED: 'true',
      FANFARE_ADAPTERS_ROOMS_WEBHOOK_TOKEN: secrets.WEBHOOK_TOKEN,
      // The desk's own origin is not known before it has a port.
      CORS_ORIGIN: '*',
    },
  });
  const server = `http://127.0.0.1:${fanfare}`;
  const desk = await startNode('the desk', 'back_end.mjs', {
    ...secrets,
    REALTIME_URL: server,
    PORT: deskPort,
    TRAFFIC: traffic,
  });
  return { desk, server };
}

async function ask(url, fields) {
  const request = fields ? { method: 'POST', body: new URLSearchParams(fields) } : {};
  const answer = await fetch(url, { ...request, signal: AbortSignal.timeout(30_000) });
  if (!answer.ok) {
    throw new Error(`${url} answers ${answer.status}: ${await answer.text()}`);
  }
  return answer;
}

async function until(condition) {
  while (!condition()) {
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
}
