// The official Python SDK, one call per process.

import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { fileURLToPath } from 'node:url';

import { APP } from './server.mjs';
import { within } from './within.mjs';

export const PYTHON = process.env.FANFARE_SDK_PYTHON ?? fileURLToPath(new URL('../.venv/bin/python', import.meta.url));
const CALL = fileURLToPath(new URL('../python/call.py', import.meta.url));

/** A function that makes one call of the SDK against `server`. */
export function pythonSdk(server, more = {}) {
  const client = {
    app_id: APP.id,
    key: APP.key,
    secret: APP.secret,
    host: server.host,
    port: server.port,
    ssl: false,
    ...more,
  };
  return async (method, args) => {
    const python = spawn(PYTHON, [CALL], { stdio: ['pipe', 'pipe', 'inherit'] });
    python.stdin.end(JSON.stringify({ client, method, arguments: args }));
    const [output, [code]] = await within(
      Promise.all([python.stdout.toArray(), once(python, 'exit')]),
      `the Python SDK to ${method}`,
    );
    assert.equal(code, 0, `the Python SDK failed to ${method}`);
    return JSON.parse(Buffer.concat(output).toString());
  };
}
