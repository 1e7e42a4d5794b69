// The programs that the console shows, run as somebody would who has copied them: with
// the SDKs that the tests have anyway.

import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';

import { PYTHON } from '../../../../../tests/sdk/support/python.mjs';

const SDKS = fileURLToPath(new URL('../../../../../tests/sdk/', import.meta.url));
const TIMEOUT_MS = 20_000;

/** How a program of a language is started. PHP and Ruby are not here to try. */
export const RUNNERS = {
  cURL: (text) => ['sh', ['-euc', text]],
  Node: (text) => [process.execPath, ['--input-type=module', '-e', text]],
  Python: (text) => [PYTHON, ['-c', text]],
};

/** Runs what the page shows, with the secret that only its reader knows. */
export async function runSnippet(language, text, secret) {
  assert.ok(text.includes('YOUR_SECRET'), text);
  const [program, args] = RUNNERS[language](text.replace('YOUR_SECRET', secret));
  await promisify(execFile)(program, args, { cwd: SDKS, timeout: TIMEOUT_MS });
}
