// A PostgreSQL of its own for one test file, whose data is gone afterwards.

import { execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, readdirSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';

import pg from 'pg';

import { atEnd } from './cleanup.mjs';
import { freePort } from './redis.mjs';
import { eventually } from './within.mjs';

const USER = 'fanfare';
const isRoot = process.getuid() === 0;

/** Starts it for the test `t`; returns where it is, and `query(text, values)`. */
export async function startPostgres(t) {
  const folder = await mkdtemp(path.join(tmpdir(), 'fanfare-postgres-'));
  if (isRoot) {
    // The server refuses to run as root.
    execFileSync('chown', ['postgres', folder]);
  }
  const data = path.join(folder, 'data');
  const options = ['--auth=trust', `--username=${USER}`, '--encoding=UTF8', '--no-sync', '--no-instructions'];
  execFileSync(...asItsUser('initdb', [...options, '--pgdata', data]), { stdio: 'ignore' });
  const port = await freePort();
  const settings = ['listen_addresses=127.0.0.1', 'fsync=off', 'synchronous_commit=off', 'full_page_writes=off'];
  const flags = settings.flatMap((setting) => ['-c', setting]);
  const child = spawn(...asItsUser('postgres', ['-D', data, '-p', String(port), '-k', folder, ...flags]), {
    stdio: 'ignore',
  });
  const end = () => child.kill('SIGQUIT');
  process.on('exit', end);
  const pool = new pg.Pool({ host: '127.0.0.1', port, user: USER, database: 'postgres', max: 4 });
  // The server ends before its last connections do.
  pool.on('error', () => {});
  atEnd(t, async () => {
    await pool.end();
    process.off('exit', end);
    const ended = once(child, 'exit');
    end();
    await ended;
    await rm(folder, { recursive: true, force: true });
  });
  await eventually(() => pool.query('SELECT 1').catch(() => false), 'PostgreSQL');
  return {
    port,
    user: USER,
    query: async (text, values) => (await pool.query(text, values)).rows,
  };
}

function asItsUser(name, options) {
  const program = find(name);
  if (!isRoot) {
    return [program, options];
  }
  return ['setpriv', ['--reuid=postgres', '--regid=postgres', '--clear-groups', program, ...options]];
}

// Debian keeps the programs beside those of other versions.
function find(name) {
  const versions = '/usr/lib/postgresql';
  const found = (existsSync(versions) ? readdirSync(versions) : [])
    .map((version) => path.join(versions, version, 'bin', name))
    .filter((program) => existsSync(program))
    .sort();
  return found.at(-1) ?? name;
}
