// Starts Fanfare for tests: copy this file into your own.

import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { createInterface } from 'node:readline';

/**
 * Starts a server on a free port. `events(query)` reads its log; with `wait` in
 * the query it waits so many seconds for what is asked for.
 */
export async function startFanfare({ program = process.env.FANFARE ?? 'fanfare' } = {}) {
  // The server ends when this process does, whichever way that is.
  const child = spawn(program, ['serve', '--test'], {
    env: { ...process.env, FANFARE_LOG_LEVEL: 'error' },
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  const [line] = await Promise.race([
    once(createInterface({ input: child.stdout }), 'line'),
    once(child, 'error').then(([error]) => Promise.reject(error)),
    once(child, 'exit').then(([code]) => Promise.reject(new Error(`fanfare ended with ${code}`))),
  ]);
  const where = JSON.parse(line);
  const log = `http://${where.host}:${where.port}/test/events`;
  return {
    ...where,
    async events(query) {
      const answer = await fetch(`${log}?${new URLSearchParams(query)}`);
      if (!answer.ok) {
        throw new Error(await answer.text());
      }
      return (await answer.json()).events;
    },
    async forget() {
      await fetch(log, { method: 'DELETE' });
    },
    async stop() {
      const ended = once(child, 'exit');
      child.kill();
      await ended;
    },
  };
}
