// The admin API of the server, as docs/admin.md describes it. Who is signed in, and
// what a change must bring along, is known here and nowhere else.

/** Relative to /console/, since a prefix may stand before both. */
const ROOT = '../admin/v1';

export type Role = 'admin' | 'viewer';

export interface Session {
  state: 'signed_in' | 'signed_out' | 'begin' | 'open';
  name?: string;
  role?: Role;
  page_token?: string;
  has_database?: boolean;
}

export interface Limits {
  [name: string]: number | null;
}

/** Which channels keep what was sent; the first rule that fits one holds. */
export interface HistoryRule {
  channels: string;
  events: number;
  seconds: number;
  bytes: number;
  client_events: boolean;
}

export interface Settings {
  enabled: boolean;
  tls_only: boolean;
  client_events: boolean;
  subscription_count: boolean;
  watchlist: boolean;
  authorized_connections: boolean;
  subscription_errors: boolean;
  soketi_answers: boolean;
  bind_sessions: boolean;
  webhook_batching: boolean;
  over_quota: 'retry_later' | 'refuse';
  allowed_origins: string[];
  history: HistoryRule[];
  plan: 'sandbox' | 'startup' | 'pro' | 'unlimited';
  limits: Limits;
}

export interface App {
  id: string;
  origin: 'file' | 'database' | 'soketi_table';
  created_ms?: number;
  keys: string[];
  webhooks: number;
  connections: number;
  settings: Settings;
}

export interface Sums {
  connections_peak: number;
  connections: number;
  channels: number;
  messages_sent: number;
  messages_received: number;
  sent_bytes: number;
  received_bytes: number;
  api_requests: number;
  api_events: number;
  client_events: number;
  rate_refusals: number;
  quota_messages: number;
  webhooks_delivered: number;
  webhooks_retried: number;
  webhooks_failed: number;
}

export interface Statistics {
  now: Sums;
  day?: { used: number; limit: number };
  points: (Sums & { start: number })[];
}

export interface Channel {
  name: string;
  subscriptions: number;
  users?: number;
}

export interface PastEvent {
  id?: string;
  at_ms?: number;
  name: string;
  data?: string;
  data_bytes: number;
}

export interface ChannelDetail extends Channel {
  user_ids?: string[];
  socket_ids?: string[];
  cached?: PastEvent;
  has_history: boolean;
  unanswered: number;
}

export interface Connection {
  socket_id: string;
  node: string;
  app_id: string;
  address: string;
  connected_seconds: number;
  silent_seconds: number;
  user_id?: string;
  transport?: string;
  client?: string;
  waiting_bytes?: number;
}

export interface ConnectionDetail extends Connection {
  channels: string[];
}

export interface WebhookSettings {
  url: string;
  events: string[];
  channel_prefix?: string;
  channel_suffix?: string;
  channel_pattern?: string;
  headers: Record<string, string>;
}

export interface Webhook extends WebhookSettings {
  id: string;
}

export interface Delivery {
  id: string;
  url: string;
  state: 'waiting' | 'delivered' | 'given_up' | 'refused' | 'dropped';
  created_ms: number;
  attempts: number;
  status?: number;
  latency_ms?: number;
  error?: string;
  body: string;
}

export interface Node {
  name: string;
  is_this: boolean;
  version: string;
  uptime_seconds: number;
  connections: number;
  max_connections: number;
  is_draining: boolean;
  is_clustered: boolean;
  degraded?: string;
  database_is_up?: boolean;
  client_port: number;
  metrics_port: number;
  figures: { name: string; help: string; value: number }[];
  history: History;
  adapters: { name: string; is_up: boolean; restarts: number; problem?: string; missing?: string }[];
}

/** Past events and sessions; what counts, since the start of the node. */
export interface History {
  bytes: number;
  max_bytes: number;
  evicted_channels: number;
  replays: number;
  replayed_events: number;
  gaps: number;
  sessions_connected: number;
  sessions_waiting: number;
  session_bytes: number;
  sessions_dropped: number;
}

export interface Account {
  name: string;
  role: Role;
  created_ms: number;
}

export interface AuditEntry {
  id: string;
  at_ms: number;
  actor: string;
  address: string;
  action: string;
  detail?: string;
}

export interface FeedEvent {
  kind: string;
  app_id?: string;
  channel?: string;
  socket_id?: string;
  user_id?: string;
  event?: string;
  data?: string;
  data_bytes?: number;
  count?: number;
  code?: number;
  message?: string;
  address?: string;
  url?: string;
  outcome?: string;
  status?: number;
  latency_ms?: number;
}

/** What the server has refused, in its own words. */
export class Refusal extends Error {
  constructor(
    readonly status: number,
    readonly code: string,
    message: string,
    readonly expected?: string,
  ) {
    super(message);
  }
}

let pageToken = '';
let onSignedOut = () => {};

/** Calls `listener` whenever the server does not know who asks any more. */
export function whenSignedOut(listener: () => void) {
  onSignedOut = listener;
}

export async function request<T>(method: string, path: string, body?: unknown): Promise<T> {
  const answer = await fetch(ROOT + path, {
    method,
    headers: {
      ...(body !== undefined && { 'content-type': 'application/json' }),
      ...(method !== 'GET' && { 'x-fanfare-page': pageToken }),
    },
    ...(body !== undefined && { body: JSON.stringify(body) }),
  });
  if (answer.status === 204) {
    return undefined as T;
  }
  const content = await answer.json().catch(() => undefined);
  if (answer.ok && content !== undefined) {
    return content as T;
  }
  if (answer.status === 401) {
    onSignedOut();
  }
  const { code = 'failed', message = `HTTP ${answer.status}`, expected } = content?.error ?? {};
  throw new Refusal(answer.status, code, message, expected);
}

export const get = <T>(path: string) => request<T>('GET', path);

function keep(session: Session): Session {
  pageToken = session.page_token ?? '';
  return session;
}

/** Who is signed in. On a machine where nobody has to, that is done at once. */
export async function session(): Promise<Session> {
  const found = await get<Session>('/session');
  return found.state === 'open' ? keep(await request<Session>('POST', '/session', {})) : keep(found);
}

export async function signIn(name: string, password: string): Promise<Session> {
  return keep(await request<Session>('POST', '/session', { name, password }));
}

export async function begin(invitation: string, name: string, password: string): Promise<Session> {
  return keep(await request<Session>('POST', '/session/first', { invitation, name, password }));
}

export async function signOut(): Promise<void> {
  await request('DELETE', '/session');
  pageToken = '';
}

/** A path whose parts may hold anything. */
export function path(parts: TemplateStringsArray, ...values: string[]): string {
  return parts.reduce((whole, part, index) => whole + encodeURIComponent(values[index - 1] ?? '') + part);
}

/** A query of what is not empty. */
export function query(parameters: Record<string, string | number | undefined>): string {
  const filled = Object.entries(parameters).filter(([, value]) => value !== undefined && value !== '');
  const text = new URLSearchParams(filled.map(([name, value]) => [name, String(value)])).toString();
  return text && `?${text}`;
}

/** The live feed; to be closed by the caller. */
export function feed(app: string, parameters: Record<string, string | undefined>): EventSource {
  const where = app ? path`/apps/${app}/feed` : '/feed';
  return new EventSource(ROOT + where + query(parameters));
}
