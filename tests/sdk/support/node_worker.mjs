// A worker of `bull` in a process of its own: NAME PREFIX PORT MODE, where MODE is `work`,
// or `hang` for one that never ends its first job.

import { createInterface } from 'node:readline';

import Bull from 'bull';

const [name, prefix, port, mode] = process.argv.slice(2);
const queue = new Bull(name, {
  redis: { host: '127.0.0.1', port: Number(port) },
  prefix,
  settings: { lockDuration: 1000, stalledInterval: 300 },
});
let done = 0;

queue.process('process-order', 1, async (job) => {
  console.log(`took ${job.id}`);
  if (mode === 'hang') {
    await new Promise(() => {});
  }
  done += 1;
  return { node: true };
});

createInterface({ input: process.stdin }).on('line', () => console.log(`count ${done}`));
