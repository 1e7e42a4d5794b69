// The debug console: what happens, as it happens.

import { useEffect, useMemo, useRef, useState } from 'preact/hooks';

import { feed, type FeedEvent, get } from '../api';
import type { Place } from '../console';
import { Card, Choice, Code, Copy, Empty, Field, Page, pretty, State } from '../parts/basics';
import { AppPicker } from '../parts/picker';
import { link } from '../route';
import { bytes, clock, named, number, t } from '../words';

const KINDS = [
  'connected',
  'disconnected',
  'occupied',
  'vacated',
  'subscribed',
  'unsubscribed',
  'member_added',
  'member_removed',
  'api_event',
  'client_event',
  'client_error',
  'turned_away',
  'webhook',
  'cache_miss',
  'subscription_count',
  'user_online',
  'user_offline',
  'quota_warning',
] as const;

/** More would make the page slow, and nobody reads so far back. */
const KEPT = 500;

/** Between two letters, before the server is asked for something else. */
const PAUSE_MS = 300;

interface Entry extends FeedEvent {
  number: number;
  at: number;
}

interface Filter {
  kind: string;
  channel: string;
  event: string;
  socket: string;
}

const EVERYTHING: Filter = { kind: '', channel: '', event: '', socket: '' };

export function DebugPage(place: Place) {
  const [filter, setFilter] = useState(EVERYTHING);
  const [text, setText] = useState('');
  const [isPaused, setPaused] = useState(false);
  const [open, setOpen] = useState<number>();
  const { entries, leftOut, state, clear } = useFeed(place.app, filter, isPaused);
  const shown = useMemo(() => entries.filter((entry) => has(entry, text)), [entries, text]);
  const change = (part: Partial<Filter>) => setFilter({ ...filter, ...part });
  return (
    <Page
      title={t('debug')}
      actions={
        <>
          <AppPicker place={place} withAll />
          <button onClick={() => setPaused(!isPaused)} aria-pressed={isPaused}>
            {isPaused ? t('goOn') : t('pause')}
          </button>
          <button onClick={clear}>{t('clear')}</button>
        </>
      }
    >
      <Card>
        <div class="grid">
          <Choice label={t('kind')} value={filter.kind} options={[['', t('allKinds')], ...KINDS.map((kind): [string, string] => [kind, named('kind', kind)])]} onValue={(kind) => change({ kind })} />
          <Field label={t('channelPattern')} hint={t('patternHint')} value={filter.channel} onValue={(channel) => change({ channel })} />
          <Field label={t('event')} value={filter.event} onValue={(event) => change({ event })} />
          <Field label={t('socket')} value={filter.socket} onValue={(socket) => change({ socket })} />
          <Field label={t('text')} value={text} onValue={setText} type="search" />
        </div>
      </Card>
      <div class="split" role="status">
        <State kind={state === 'live' && !isPaused ? 'good' : 'soon'}>{isPaused ? t('paused') : state === 'live' ? t('live') : t('connecting')}</State>
        {leftOut > 0 && <State kind="soon">{t('leftOut', { count: number(leftOut) })}</State>}
        <span class="soft">{t('shown', { count: number(shown.length) })}</span>
      </div>
      {shown.length === 0 ? (
        <Empty>{t('feedEmpty')}</Empty>
      ) : (
        <ol class="feed" aria-label={t('debug')}>
          {shown.map((entry) => (
            <Row key={entry.number} entry={entry} isOpen={entry.number === open} onOpen={() => setOpen(entry.number === open ? undefined : entry.number)} />
          ))}
        </ol>
      )}
    </Page>
  );
}

function Row({ entry, isOpen, onOpen }: { entry: Entry; isOpen: boolean; onOpen: () => void }) {
  return (
    <li>
      <button type="button" aria-expanded={isOpen} onClick={onOpen}>
        <time class="soft">{clock(entry.at)}</time>
        <span>
          <State kind={colour(entry)}>{named('kind', entry.kind)}</State>
        </span>
        <span class="what mono">{summary(entry)}</span>
      </button>
      {isOpen && <Details entry={entry} />}
    </li>
  );
}

function Details({ entry }: { entry: Entry }) {
  const { number: _, at, data, ...rest } = entry;
  const whole = JSON.stringify({ at: new Date(at).toISOString(), ...rest, ...(data !== undefined && { data }) }, null, 2);
  return (
    <div class="details">
      <div class="actions">
        <Copy text={whole} label={t('copyAll')} />
        {entry.socket_id && (
          <a class="button small" href={link('connections', entry.socket_id)}>
            {t('showConnection')}
          </a>
        )}
        {entry.channel && (
          <a class="button small" href={link('channels', entry.app_id ?? '', entry.channel)}>
            {t('showChannel')}
          </a>
        )}
      </div>
      {data !== undefined ? (
        <Code label={t('data')} text={pretty(data)} />
      ) : (
        entry.data_bytes !== undefined && <p class="notice">{t('dataHidden', { size: bytes(entry.data_bytes) })}</p>
      )}
      <pre class="mono" tabIndex={0} aria-label={t('details')}>
        {JSON.stringify(rest, null, 2)}
      </pre>
    </div>
  );
}

function colour({ kind, outcome }: FeedEvent): 'good' | 'soon' | 'bad' | 'plain' {
  if (kind === 'client_error' || kind === 'turned_away' || (kind === 'webhook' && outcome !== 'delivered')) {
    return 'bad';
  }
  if (kind === 'api_event' || kind === 'client_event' || kind === 'webhook') {
    return 'good';
  }
  return kind === 'quota_warning' || kind === 'cache_miss' ? 'soon' : 'plain';
}

function summary(entry: FeedEvent): string {
  const { app_id, channel, event, socket_id, user_id, data, data_bytes, count, code, message, address, url, outcome, status } = entry;
  return [
    app_id,
    channel,
    event,
    url,
    outcome && named('outcome', outcome),
    status && `HTTP ${status}`,
    code,
    message,
    address,
    socket_id,
    user_id && `@${user_id}`,
    count !== undefined && number(count),
    data ?? (data_bytes !== undefined && t('hidden', { size: bytes(data_bytes) })),
  ]
    .filter(Boolean)
    .join('  ');
}

function has(entry: Entry, text: string): boolean {
  return text === '' || JSON.stringify(entry).toLowerCase().includes(text.toLowerCase());
}

/**
 * Follows the feed. What the server can leave out is left out there, so that it does
 * not count for what is shown in a second.
 */
function useFeed(app: string, filter: Filter, isPaused: boolean) {
  const [entries, setEntries] = useState<Entry[]>([]);
  const [leftOut, setLeftOut] = useState(0);
  const [state, setState] = useState<'live' | 'connecting'>('connecting');
  const paused = useRef(isPaused);
  paused.current = isPaused;
  const counter = useRef(0);
  const { kind, channel, event, socket } = useCalm(filter);

  useEffect(() => {
    setEntries([]);
    setLeftOut(0);
    setState('connecting');
    let waiting: Entry[] = [];
    const source = feed(app, { kinds: kind && `${kind},sampled`, channel_pattern: channel, event, socket_id: socket });
    const take = ({ data }: MessageEvent<string>) => {
      const told = JSON.parse(data) as FeedEvent;
      if (told.kind === 'sampled') {
        setLeftOut((before) => before + (told.count ?? 0));
      } else {
        counter.current += 1;
        waiting = [{ ...told, number: counter.current, at: Date.now() }, ...waiting].slice(0, KEPT);
      }
    };
    for (const name of [...KINDS, 'sampled']) {
      source.addEventListener(name, take);
    }
    source.onopen = () => setState('live');
    source.onerror = () => {
      setState('connecting');
      // The browser tries again by itself, except after a refusal.
      if (source.readyState === EventSource.CLOSED) {
        // Shows the door, if that is why.
        get('/apps?limit=1').catch(() => {});
      }
    };
    // Once for many events: a page that is drawn for each would not keep up.
    const timer = setInterval(() => {
      if (waiting.length > 0 && !paused.current) {
        const fresh = waiting;
        waiting = [];
        setEntries((before) => [...fresh, ...before].slice(0, KEPT));
      }
    }, 150);
    return () => {
      clearInterval(timer);
      source.close();
    };
  }, [app, kind, channel, event, socket]);
  return {
    entries,
    leftOut,
    state,
    clear: () => {
      setEntries([]);
      setLeftOut(0);
    },
  };
}

/** The filter once it has been left alone for a moment. */
function useCalm(filter: Filter): Filter {
  const [calm, setCalm] = useState(filter);
  useEffect(() => {
    const timer = setTimeout(() => setCalm(filter), PAUSE_MS);
    return () => clearTimeout(timer);
  }, [filter]);
  return calm;
}
