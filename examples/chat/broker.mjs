// A RabbitMQ node for this example alone: its files in a folder that goes with it, its
// ports on loopback.

import { existsSync } from 'node:fs';
import { mkdir, mkdtemp, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';

import { start } from '../support/processes.mjs';
import { freePort } from './ports.mjs';

// The one on the path changes the user.
const DEBIAN = '/usr/lib/rabbitmq/bin/rabbitmq-server';
const START_MS = 120_000;

// A node is more than the process that was started: this ends all of it.
const KEEPER = `
folder=$2
end() {
    kill -9 "$(cat "$RABBITMQ_PID_FILE")" "$server" 2>/dev/null
    for _ in 1 2 3 4 5 6 7 8 9 10; do
        epmd -port "$ERL_EPMD_PORT" -kill >/dev/null 2>&1 && break
        sleep 0.2
    done
    rm -rf "$folder"
    exit 0
}
trap end TERM
"$1" & server=$!
wait "$server"
`;

/** Starts it; resolves with its URL. */
export async function startRabbitMq() {
  const folder = await mkdtemp(path.join(tmpdir(), 'fanfare-chat-'));
  const [port, distribution, epmd] = await Promise.all([freePort(), freePort(), freePort()]);
  const at = (name) => path.join(folder, name);
  await Promise.all(['mnesia', 'log', 'home'].map((name) => mkdir(at(name))));
  const settings = [`listeners.tcp.1 = 127.0.0.1:${port}`, 'log.console = true', 'log.file = false'];
  await writeFile(at('rabbitmq.conf'), `${settings.join('\n')}\n`);
  await writeFile(at('enabled_plugins'), '[].');
  const program = existsSync(DEBIAN) ? DEBIAN : 'rabbitmq-server';
  const broker = start('RabbitMQ', 'sh', ['-c', KEEPER, 'keeper', program, folder], {
    LANG: 'C.UTF-8',
    HOME: at('home'),
    RABBITMQ_NODENAME: `fanfare${port}@localhost`,
    RABBITMQ_MNESIA_BASE: at('mnesia'),
    RABBITMQ_LOG_BASE: at('log'),
    RABBITMQ_CONFIG_FILE: at('rabbitmq.conf'),
    RABBITMQ_ENABLED_PLUGINS_FILE: at('enabled_plugins'),
    RABBITMQ_CONF_ENV_FILE: '/dev/null',
    RABBITMQ_PID_FILE: at('pid'),
    RABBITMQ_DIST_PORT: String(distribution),
    ERL_EPMD_PORT: String(epmd),
    ERL_EPMD_ADDRESS: '127.0.0.1',
    RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS: '-kernel inet_dist_use_interface {127,0,0,1}',
  });
  await broker.says(/Server startup complete/, START_MS);
  return `amqp://guest:guest@127.0.0.1:${port}/`;
}
