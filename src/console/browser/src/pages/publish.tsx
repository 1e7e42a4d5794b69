// The event creator: publishes by hand, and shows the program that does the same.

import { useState } from 'preact/hooks';

import { path, request } from '../api';
import type { Place } from '../console';
import { useAction } from '../data';
import { Area, Card, Code, Field, Page, Problem, Tabs } from '../parts/basics';
import { AppPicker, appOf, NoApps } from '../parts/picker';
import { useServer } from '../server';
import { publishing } from '../snippets';
import { bytes, number, t } from '../words';

interface Outcome {
  channels: number;
  milliseconds: number;
}

export function PublishPage(place: Place) {
  const id = appOf(place);
  const app = place.apps.find((app) => app.id === id);
  const [channels, setChannels] = useState('orders');
  const [name, setName] = useState('order.created');
  const [data, setData] = useState('{"id": 7}');
  const [socketId, setSocketId] = useState('');
  const [outcome, setOutcome] = useState<Outcome>();
  const [shown, setShown] = useState('cURL');
  const server = useServer();

  const named = channels.split(/[\s,]+/).filter(Boolean);
  const event = { name, channels: named, data, ...(socketId && { socketId }) };
  const sending = useAction(async () => {
    setOutcome(undefined);
    const began = performance.now();
    const body = { name, channels: named, data, ...(socketId && { socket_id: socketId }) };
    const { channels } = await request<{ channels: number }>('POST', path`/apps/${id}/events`, body);
    setOutcome({ channels, milliseconds: performance.now() - began });
  });
  if (!app) {
    return (
      <Page title={t('publish')}>
        <NoApps />
      </Page>
    );
  }
  const problem = jsonProblem(data);
  const size = new TextEncoder().encode(data).length;
  const snippets = publishing(server, { id, key: app.keys[0] ?? '' }, event);
  return (
    <Page title={t('publish')} actions={<AppPicker place={place} />}>
      <div class="columns">
        <Card>
          <form
            onSubmit={(submitted) => {
              submitted.preventDefault();
              sending.run();
            }}
          >
            <Field label={t('channels')} hint={t('channelsHint')} value={channels} onValue={setChannels} required />
            <Field label={t('event')} value={name} onValue={setName} required />
            <Area label={t('data')} hint={problem ? t('noJson', { problem }) : t('isJson', { size: bytes(size) })} isBad={problem !== undefined} rows={8} value={data} onValue={setData} />
            <Field label={t('exclude')} hint={t('excludeHint')} value={socketId} onValue={setSocketId} pattern="\d+\.\d+" />
            <Problem error={sending.error} />
            {!place.mayChange && <p class="notice">{t('viewerHint')}</p>}
            <div class="split">
              <button class="main" disabled={sending.isBusy || !place.mayChange}>
                {t('send')}
              </button>
              <span role="status">
                {outcome && <span class="state good">{t('sent', { count: number(outcome.channels), ms: number(Math.round(outcome.milliseconds)) })}</span>}
              </span>
            </div>
          </form>
        </Card>
        <Card title={t('sameInCode')}>
          <Tabs label={t('sameInCode')} tabs={snippets.map(([language]) => [language, language])} chosen={shown} onChoose={setShown} />
          {snippets
            .filter(([language]) => language === shown)
            .map(([language, text]) => (
              <Code key={language} label={language} text={text} />
            ))}
          <p class="hint">{t('secretHint')}</p>
        </Card>
      </div>
    </Page>
  );
}

function jsonProblem(text: string): string | undefined {
  try {
    JSON.parse(text);
    return undefined;
  } catch (error) {
    return (error as Error).message;
  }
}
