// A Redis of its own for one test, which keeps nothing on disk.

import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { connect, createServer } from 'node:net';
import { tmpdir } from 'node:os';

import { atEnd } from './cleanup.mjs';
import { eventually } from './within.mjs';

/** Starts it for the test `t`; returns its URL. */
export async function startRedis(t) {
  const port = await freePort();
  const options = ['--bind', '127.0.0.1', '--port', port, '--save', '', '--appendonly', 'no', '--dir', tmpdir()];
  const child = spawn('redis-server', options.map(String), { stdio: 'ignore' });
  const end = () => child.kill('SIGKILL');
  process.on('exit', end);
  atEnd(t, async () => {
    process.off('exit', end);
    const ended = once(child, 'exit');
    end();
    await ended;
  });
  await eventually(() => listens(port), 'Redis');
  return `redis://127.0.0.1:${port}`;
}

/** A port of loopback that is free at the moment. */
export async function freePort() {
  const server = createServer();
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address();
  server.close();
  await once(server, 'close');
  return port;
}

async function listens(port) {
  const socket = connect(port, '127.0.0.1');
  try {
    await once(socket, 'connect');
    return true;
  } catch {
    return false;
  } finally {
    socket.destroy();
  }
}
