// What has happened: charts of an hour, a day and 30 days, and how much of the day is
// used up.

import { useMemo, useState } from 'preact/hooks';

import { get, path, query, type Statistics, type Sums } from '../api';
import type { Place } from '../console';
import { useData } from '../data';
import { Card, download, Loaded, Page, Tabs } from '../parts/basics';
import { Chart } from '../parts/chart';
import { AppPicker } from '../parts/picker';
import { bytes, number, t, type Word } from '../words';

const RANGES = {
  hour: { span: 'minute', seconds: 60, count: 60 },
  day: { span: 'minute', seconds: 60, count: 1440 },
  month: { span: 'hour', seconds: 3600, count: 720 },
} as const;
type Range = keyof typeof RANGES;

const CHARTS: [Word, [Word, keyof Sums][]][] = [
  ['connections', [['atMost', 'connections_peak'], ['atEnd', 'connections']]],
  ['messages', [['toClients', 'messages_sent'], ['fromClients', 'messages_received']]],
  ['api', [['requests', 'api_requests'], ['apiEvents', 'api_events'], ['clientEvents', 'client_events']]],
  ['traffic', [['toClientsBytes', 'sent_bytes'], ['fromClientsBytes', 'received_bytes']]],
  ['webhooks', [['delivered', 'webhooks_delivered'], ['retried', 'webhooks_retried'], ['failed', 'webhooks_failed']]],
  ['refusals', [['byRate', 'rate_refusals']]],
];

const NOTHING: Sums = {
  connections_peak: 0,
  connections: 0,
  channels: 0,
  messages_sent: 0,
  messages_received: 0,
  sent_bytes: 0,
  received_bytes: 0,
  api_requests: 0,
  api_events: 0,
  client_events: 0,
  rate_refusals: 0,
  quota_messages: 0,
  webhooks_delivered: 0,
  webhooks_retried: 0,
  webhooks_failed: 0,
};

interface Table {
  times: number[];
  rows: Sums[];
}

export function OverviewPage(place: Place) {
  const [range, setRange] = useState<Range>('hour');
  const { app } = place;
  const { span, seconds, count } = RANGES[range];
  const data = useData(
    async () => {
      const end = Math.floor(Date.now() / 1000 / seconds) * seconds + seconds;
      const from = end - count * seconds;
      const where = app ? path`/apps/${app}/statistics` : '/statistics';
      const found = await get<Statistics>(where + query({ span, from, to: end }));
      return { found, table: everySpan(found, from, seconds, count) };
    },
    [app, range],
    5,
  );
  const save = () => data.value && download(`fanfare-${app || 'all'}-${range}.csv`, 'text/csv', csv(data.value.table));
  return (
    <Page
      title={t('overview')}
      actions={
        <>
          <AppPicker place={place} withAll />
          <button onClick={save} disabled={!data.value}>
            {t('csv')}
          </button>
        </>
      }
    >
      <Loaded data={data}>
        {({ found, table }) => (
          <>
            <Now statistics={found} />
            <Tabs
              label={t('range')}
              chosen={range}
              onChoose={setRange}
              tabs={[
                ['hour', t('lastHour')],
                ['day', t('lastDay')],
                ['month', t('lastMonth')],
              ]}
            />
            <div class="columns">
              {CHARTS.map(([title, lines]) => (
                <Card key={title}>
                  <Lines title={t(title)} table={table} lines={lines} />
                </Card>
              ))}
            </div>
          </>
        )}
      </Loaded>
    </Page>
  );
}

function Now({ statistics: { now, day } }: { statistics: Statistics }) {
  const figures: [Word, string, string?][] = [
    ['connectionsNow', number(now.connections), t('peak', { count: number(now.connections_peak) })],
    ['channelsNow', number(now.channels)],
    ['sentSinceStart', number(now.messages_sent), bytes(now.sent_bytes)],
    ['receivedSinceStart', number(now.messages_received), bytes(now.received_bytes)],
    ['apiSinceStart', number(now.api_requests)],
    ['refusedSinceStart', number(now.rate_refusals)],
  ];
  return (
    <>
      <dl class="figures">
        {figures.map(([word, value, more]) => (
          <div class="figure" key={word}>
            <dt>{t(word)}</dt>
            <dd>
              {value}
              {more && <small>{more}</small>}
            </dd>
          </div>
        ))}
      </dl>
      {day && (
        <Card title={t('quota')}>
          <div class="meter">
            <progress value={Math.min(day.used, day.limit)} max={day.limit} aria-label={t('quota')} />
            <p class="soft">{t('quotaUsed', { used: number(day.used), limit: number(day.limit), percent: number(Math.round((100 * day.used) / Math.max(day.limit, 1))) })}</p>
          </div>
        </Card>
      )}
    </>
  );
}

function Lines({ title, table, lines }: { title: string; table: Table; lines: [Word, keyof Sums][] }) {
  const series = useMemo(() => lines.map(([word, column]) => ({ label: t(word), values: table.rows.map((row) => row[column]) })), [table]);
  return <Chart title={title} times={table.times} series={series} />;
}

/** Spans in which nothing happened are left out by the server. */
function everySpan(statistics: Statistics, from: number, seconds: number, count: number): Table {
  const known = new Map(statistics.points.map((point) => [point.start, point]));
  const times = Array.from({ length: count }, (_, index) => from + index * seconds);
  return { times, rows: times.map((time) => known.get(time) ?? NOTHING) };
}

function csv({ times, rows }: Table): string {
  const columns = Object.keys(NOTHING) as (keyof Sums)[];
  const lines = rows.map((row, index) => [new Date((times[index] ?? 0) * 1000).toISOString(), ...columns.map((column) => row[column])].join(','));
  return [['time', ...columns].join(','), ...lines, ''].join('\r\n');
}
