// One app: how to begin with it, its keys, settings, webhooks and their log.

import { useState } from 'preact/hooks';

import { type App, get, path, request, type Statistics } from '../api';
import type { Place } from '../console';
import { useAction, useData } from '../data';
import { Card, Code, Empty, Facts, Loaded, Page, Problem, State, Sure, Table, Tabs } from '../parts/basics';
import { go, link } from '../route';
import { useServer } from '../server';
import { backEnds, pages, type Snippet } from '../snippets';
import { named, number, t, when } from '../words';
import { AppState, Secret } from './apps';
import { DeliveriesTab } from './deliveries';
import { SettingsTab } from './settings';
import { WebhooksTab } from './webhooks';

const TABS = ['start', 'keys', 'settings', 'webhooks', 'deliveries'] as const;
type Tab = (typeof TABS)[number];

export interface AppProps {
  app: App;
  /** Whether it may be changed here, and by whoever looks. */
  mayChange: boolean;
  reload: () => Promise<void>;
}

export function AppPage(place: Place) {
  const [id = '', wanted] = place.rest;
  const tab: Tab = TABS.find((name) => name === wanted) ?? 'start';
  const data = useData(() => get<App>(path`/apps/${id}`), [id], 10);
  const reload = async () => {
    await Promise.all([data.reload(), place.reloadApps()]);
  };
  return (
    <Page title={t('appTitle', { id })} actions={<a href={link('apps')}>{t('allApps')}</a>}>
      <Loaded data={data}>
        {(app) => {
          const isOurs = app.origin === 'database';
          const props = { app, mayChange: place.mayChange && isOurs, reload };
          return (
            <>
              <Facts
                facts={[
                  [t('state'), <AppState app={app} />],
                  [t('connectionsNow'), number(app.connections)],
                  [t('kept'), named('origin', app.origin)],
                  [t('created'), app.created_ms === undefined ? undefined : when(app.created_ms)],
                ]}
              />
              {!isOurs && <p class="notice">{t('notOurs')}</p>}
              <Tabs label={t('appTitle', { id })} chosen={tab} onChoose={(next) => go('apps', id, next)} tabs={TABS.map((name) => [name, t(name)])} />
              {tab === 'start' && <StartTab {...props} />}
              {tab === 'keys' && <KeysTab {...props} />}
              {tab === 'settings' && <SettingsTab {...props} />}
              {tab === 'webhooks' && <WebhooksTab {...props} mayTest={place.mayChange} />}
              {tab === 'deliveries' && <DeliveriesTab app={app} mayChange={place.mayChange} />}
            </>
          );
        }}
      </Loaded>
    </Page>
  );
}

function StartTab({ app }: AppProps) {
  const server = useServer();
  const statistics = useData(() => get<Statistics>(path`/apps/${app.id}/statistics`), [app.id], 2);
  const now = statistics.value?.now;
  const isConnected = (now?.connections_peak ?? 0) > 0;
  const isPublished = (now?.api_events ?? 0) > 0;
  const credentials = { id: app.id, key: app.keys[0] ?? '' };
  return (
    <>
      <Card title={t('startFirst')}>
        <p class={isConnected ? 'light is-on' : 'light'} role="status">
          {isConnected ? t('startConnected', { count: number(now?.connections ?? 0) }) : t('startWaiting')}
        </p>
        <Snippets label={t('startFirst')} snippets={pages(server, credentials)} />
      </Card>
      <Card title={t('startSecond')}>
        <p class={isPublished ? 'light is-on' : 'light'} role="status">
          {isPublished ? t('startPublished', { count: number(now?.api_events ?? 0) }) : t('startUnpublished')}
        </p>
        <Snippets label={t('startSecond')} snippets={backEnds(server, credentials)} />
        <p class="hint">{t('secretHint')}</p>
      </Card>
    </>
  );
}

function Snippets({ label, snippets }: { label: string; snippets: Snippet[] }) {
  const [shown, setShown] = useState(snippets[0]![0]);
  return (
    <>
      <Tabs label={label} tabs={snippets.map(([language]) => [language, language])} chosen={shown} onChoose={setShown} />
      {snippets
        .filter(([language]) => language === shown)
        .map(([language, text]) => (
          <Code key={language} label={language} text={text} />
        ))}
    </>
  );
}

function KeysTab({ app, mayChange, reload }: AppProps) {
  const data = useData(async () => (await get<{ keys: { key: string; signs_webhooks: boolean }[] }>(path`/apps/${app.id}/keys`)).keys, [app.id]);
  const [made, setMade] = useState<{ key: string; secret: string }>();
  const change = useAction(async (act: () => Promise<void>) => {
    await act();
    await Promise.all([data.reload(), reload()]);
  });
  const add = async () => setMade(await request('POST', path`/apps/${app.id}/keys`));
  const remove = async (key: string) => {
    await request('DELETE', path`/apps/${app.id}/keys/${key}`);
    setMade(undefined);
  };
  return (
    <>
      {made && (
        <Card title={t('newKey')}>
          <Secret keyPair={made} />
        </Card>
      )}
      <Card
        title={t('keys')}
        actions={
          mayChange && (
            <button onClick={() => change.run(add)} disabled={change.isBusy}>
              {t('addKey')}
            </button>
          )
        }
      >
        <p class="soft">{t('rotateHint')}</p>
        <Problem error={change.error} />
        <Loaded data={data}>
          {(keys) => (
            <Table label={t('keys')} head={[t('key'), '', '']}>
              {keys.map(({ key, signs_webhooks }) => (
                <tr key={key}>
                  <td class="mono">{key}</td>
                  <td>{signs_webhooks && <State kind="plain">{t('signsWebhooks')}</State>}</td>
                  <td>{mayChange && keys.length > 1 && <Sure label={t('delete')} question={t('deleteKeySure')} onSure={() => change.run(() => remove(key))} />}</td>
                </tr>
              ))}
            </Table>
          )}
        </Loaded>
        {app.keys.length === 0 && <Empty>{t('nothing')}</Empty>}
      </Card>
    </>
  );
}
