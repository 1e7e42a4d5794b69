// A RabbitMQ node of its own for one test, on free ports of loopback.

import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync } from 'node:fs';
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';

import { atEnd } from './cleanup.mjs';
import { freePort } from './redis.mjs';
import { eventually } from './within.mjs';

// The one on the path changes the user.
const DEBIAN = '/usr/lib/rabbitmq/bin/rabbitmq-server';

/** It needs seconds to start, and more on a busy machine. */
const START_MS = 120_000;

// Ends the node when its own input ends, so that nothing outlives the test.
const KEEPER = `
trap '' INT
"$1" </dev/null & server=$!
read -r end
kill -9 "$(cat "$RABBITMQ_PID_FILE")" "$server" 2>/dev/null
for _ in 1 2 3 4 5 6 7 8 9 10; do
    epmd -port "$ERL_EPMD_PORT" -kill >/dev/null 2>&1 && break
    sleep 0.2
done
`;

/** Starts it for the test `t`. */
export async function startRabbitMq(t) {
  const folder = await mkdtemp(path.join(tmpdir(), 'fanfare-rabbitmq-'));
  const [port, management, distribution, epmd] = await Promise.all([0, 1, 2, 3].map(() => freePort()));
  await Promise.all(['mnesia', 'log', 'home'].map((name) => mkdir(path.join(folder, name))));
  const at = (name) => path.join(folder, name);
  const settings = [
    `listeners.tcp.1 = 127.0.0.1:${port}`,
    'management.tcp.ip = 127.0.0.1',
    `management.tcp.port = ${management}`,
    'log.console = true',
    'log.file = false',
    'vm_memory_high_watermark.absolute = 512MiB',
    'disk_free_limit.absolute = 50MB',
  ];
  await writeFile(at('rabbitmq.conf'), `${settings.join('\n')}\n`);
  await writeFile(at('enabled_plugins'), '[rabbitmq_management].');
  const program = existsSync(DEBIAN) ? DEBIAN : 'rabbitmq-server';
  const keeper = spawn('sh', ['-c', KEEPER, 'keeper', program], {
    cwd: '/',
    env: {
      PATH: '/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin',
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
    },
    stdio: ['pipe', 'ignore', 'ignore'],
  });
  atEnd(t, async () => {
    const ended = once(keeper, 'exit');
    keeper.stdin.end();
    await ended;
    await rm(folder, { recursive: true, force: true });
  });
  const broker = new RabbitMq(port, management);
  await eventually(() => broker.answers(), 'RabbitMQ, which tests/run installs', START_MS);
  return broker;
}

class RabbitMq {
  #management;

  constructor(port, management) {
    this.url = `amqp://guest:guest@127.0.0.1:${port}/`;
    this.#management = `http://127.0.0.1:${management}/api`;
  }

  async answers() {
    try {
      return (await this.#ask('GET', 'overview')).ok;
    } catch {
      return false;
    }
  }

  /** Declares the exchange of the chat, as the chat does. */
  async declareExchange(name) {
    await this.#ask('PUT', `exchanges/%2F/${name}`, { type: 'topic', durable: true });
  }

  /** Publishes an update; resolves with whether any queue got it. */
  async publish(exchange, key, update) {
    const answer = await this.#ask('POST', `exchanges/%2F/${exchange}/publish`, {
      properties: { content_type: 'application/json', delivery_mode: 2 },
      routing_key: key,
      payload: JSON.stringify(update),
      payload_encoding: 'string',
    });
    return (await answer.json()).routed;
  }

  async #ask(method, path, body) {
    return fetch(`${this.#management}/${path}`, {
      method,
      headers: { authorization: `Basic ${btoa('guest:guest')}`, 'content-type': 'application/json' },
      body: body && JSON.stringify(body),
    });
  }
}
