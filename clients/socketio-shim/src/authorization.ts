// Asks the server, or a back end, what this user may: join a room, and be who the
// token says.

const PATIENCE_MS = 10_000;

/** No. `status` is the answer's, or 0 if there was no answer. */
export class Refusal extends Error {
  override name = 'Refusal';

  constructor(
    message: string,
    readonly status: number,
  ) {
    super(message);
  }

  /** Whether the same question may be answered differently in a while. */
  get isPassing(): boolean {
    return this.status === 0 || this.status === 408 || this.status === 429 || this.status >= 500;
  }
}

export interface Question {
  endpoint: string;
  token: string | undefined;
  fields: Record<string, string>;
  headers: Record<string, string>;
  /** Whether cookies go to another origin, too. */
  withCredentials: boolean;
}

export interface Authorization {
  auth: string;
  channel_data?: string;
  user_data?: string;
}

export type UserAuthorization = Authorization & { user_data: string };

/** Rejects with a `Refusal`. */
export async function ask({ endpoint, token, fields, headers, withCredentials }: Question): Promise<Authorization> {
  let status = 0;
  let text: string;
  try {
    const answer = await fetch(endpoint, {
      method: 'POST',
      headers: { ...headers, ...(token !== undefined && { Authorization: `Bearer ${token}` }) },
      body: new URLSearchParams(fields),
      credentials: withCredentials ? 'include' : 'same-origin',
      signal: AbortSignal.timeout(PATIENCE_MS),
    });
    status = answer.status;
    text = await answer.text();
  } catch (error) {
    throw new Refusal(`no answer from ${endpoint}: ${messageOf(error)}`, 0);
  }
  if (status !== 200) {
    throw new Refusal(reasonIn(text) ?? `${endpoint} answered ${status}`, status);
  }
  const authorization = asAuthorization(text);
  if (!authorization) {
    throw new Refusal(`${endpoint} answered something that is no authorization`, status);
  }
  return authorization;
}

function asAuthorization(text: string): Authorization | undefined {
  const answer = parseObject(text);
  if (typeof answer?.auth !== 'string') {
    return undefined;
  }
  // pusher-js reads these as JSON without looking.
  for (const member of ['channel_data', 'user_data']) {
    const data = answer[member];
    if (data !== undefined && !(typeof data === 'string' && parseObject(data))) {
      return undefined;
    }
  }
  return answer as unknown as Authorization;
}

/** What the server says why, if it says so in the way of one server or another. */
function reasonIn(text: string): string | undefined {
  const answer = parseObject(text);
  if (!answer) {
    // Fanfare's own endpoint answers with a line of text.
    const line = text.trim();
    return /^[^<{\n]{1,200}$/.test(line) ? line : undefined;
  }
  const reason = answer.message ?? answer.error;
  return typeof reason === 'string' ? reason : undefined;
}

/** The object that `text` is in JSON. */
export function parseObject(text: unknown): Record<string, unknown> | undefined {
  try {
    return asObject(JSON.parse(text as string));
  } catch {
    return undefined;
  }
}

export function asObject(value: unknown): Record<string, unknown> | undefined {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
    ? (value as Record<string, unknown>)
    : undefined;
}

function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
