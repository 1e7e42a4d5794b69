// A certificate that nobody trusts, for a server on loopback.

import { execFile } from 'node:child_process';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { promisify } from 'node:util';

import { atEnd } from './cleanup.mjs';

/** The line of the `[server]` table that makes a server speak TLS. */
export async function tlsSetting(t) {
  const folder = await mkdtemp(path.join(tmpdir(), 'fanfare-tls-'));
  atEnd(t, () => rm(folder, { recursive: true }));
  const [cert, key] = ['cert.pem', 'key.pem'].map((name) => path.join(folder, name));
  const made = ['-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes', '-days', '2'];
  const names = ['-subj', '/CN=localhost', '-addext', 'subjectAltName=IP:127.0.0.1,DNS:localhost'];
  await promisify(execFile)('openssl', ['req', ...made, ...names, '-keyout', key, '-out', cert]);
  return `tls = { cert = "${cert}", key = "${key}" }`;
}
