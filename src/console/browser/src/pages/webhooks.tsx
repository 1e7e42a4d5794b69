// Webhooks of an app, and trying them out.

import { useState } from 'preact/hooks';

import { get, path, request, type Webhook, type WebhookSettings } from '../api';
import { useAction, useData } from '../data';
import { Area, Card, Code, Dialog, Empty, Field, Loaded, pretty, Problem, State, Sure, Switch } from '../parts/basics';
import { named, number, t } from '../words';
import type { AppProps } from './app';

const EVENTS = ['channel_occupied', 'channel_vacated', 'member_added', 'member_removed', 'client_event', 'cache_miss', 'subscription_count'];

const NEW: WebhookSettings = { url: '', events: ['channel_occupied', 'channel_vacated'], headers: {} };

interface Tested {
  delivered: boolean;
  status?: number;
  latency_ms: number;
  error?: string;
  body: string;
}

export function WebhooksTab({ app, mayChange, mayTest, reload }: AppProps & { mayTest: boolean }) {
  const data = useData(async () => (await get<{ webhooks: Webhook[] }>(path`/apps/${app.id}/webhooks`)).webhooks, [app.id]);
  const [edited, setEdited] = useState<Webhook | WebhookSettings>();
  const refresh = async () => {
    setEdited(undefined);
    await Promise.all([data.reload(), reload()]);
  };
  return (
    <>
      {mayChange && (
        <div class="actions">
          <button onClick={() => setEdited(NEW)}>{t('addWebhook')}</button>
        </div>
      )}
      <Loaded data={data}>
        {(webhooks) =>
          webhooks.length === 0 ? (
            <Empty>{t('noWebhooks')}</Empty>
          ) : (
            <>
              {webhooks.map((webhook) => (
                <WebhookCard key={webhook.id} app={app.id} webhook={webhook} mayChange={mayChange} mayTest={mayTest} onEdit={() => setEdited(webhook)} onGone={refresh} />
              ))}
            </>
          )
        }
      </Loaded>
      {edited && <Editor app={app.id} webhook={edited} onSaved={refresh} onClose={() => setEdited(undefined)} />}
    </>
  );
}

interface CardProps {
  app: string;
  webhook: Webhook;
  mayChange: boolean;
  mayTest: boolean;
  onEdit: () => void;
  onGone: () => Promise<void>;
}

function WebhookCard({ app, webhook, mayChange, mayTest, onEdit, onGone }: CardProps) {
  const [tested, setTested] = useState<Tested>();
  const testing = useAction(async () => {
    setTested(undefined);
    setTested(await request<Tested>('POST', path`/apps/${app}/webhooks/${webhook.id}/test`));
  });
  const deleting = useAction(async () => {
    await request('DELETE', path`/apps/${app}/webhooks/${webhook.id}`);
    await onGone();
  });
  const filters = [webhook.channel_prefix && `${webhook.channel_prefix}…`, webhook.channel_suffix && `…${webhook.channel_suffix}`, webhook.channel_pattern && `/${webhook.channel_pattern}/`];
  return (
    <Card
      title={webhook.url}
      actions={
        <>
          {mayTest && (
            <button class="small" onClick={testing.run} disabled={testing.isBusy}>
              {t('test')}
            </button>
          )}
          {mayChange && (
            <button class="small" onClick={onEdit}>
              {t('edit')}
            </button>
          )}
          {mayChange && <Sure label={t('delete')} question={t('deleteWebhookSure')} onSure={deleting.run} />}
        </>
      }
    >
      <div class="chips">
        {webhook.events.map((event) => (
          <State key={event} kind="plain">
            {named('kind', event.replace('channel_', ''))}
          </State>
        ))}
        {filters.filter(Boolean).map((filter) => (
          <code key={filter}>{filter}</code>
        ))}
        {Object.keys(webhook.headers).map((name) => (
          <code key={name}>{name}: ..</code>
        ))}
      </div>
      <Problem error={testing.error ?? deleting.error} />
      {tested && (
        <div class="wide" role="status">
          <p class={tested.delivered ? 'notice good' : 'notice bad'}>
            {tested.delivered ? t('testTaken', { status: tested.status ?? '', ms: number(tested.latency_ms) }) : t('testRefused', { error: tested.error ?? '' })}
          </p>
          <Code label={t('body')} text={pretty(tested.body)} />
        </div>
      )}
    </Card>
  );
}

function Editor({ app, webhook, onSaved, onClose }: { app: string; webhook: Webhook | WebhookSettings; onSaved: () => Promise<void>; onClose: () => void }) {
  const [draft, setDraft] = useState(webhook);
  const [headers, setHeaders] = useState(
    Object.entries(webhook.headers)
      .map(([name, value]) => `${name}: ${value}`)
      .join('\n'),
  );
  const change = (part: Partial<WebhookSettings>) => setDraft({ ...draft, ...part });
  const id = 'id' in webhook ? webhook.id : undefined;
  const saving = useAction(async () => {
    const { url, events, channel_prefix, channel_suffix, channel_pattern } = draft;
    const body = {
      url,
      events,
      ...(channel_prefix && { channel_prefix }),
      ...(channel_suffix && { channel_suffix }),
      ...(channel_pattern && { channel_pattern }),
      headers: readHeaders(headers),
    };
    if (id === undefined) {
      await request('POST', path`/apps/${app}/webhooks`, body);
    } else {
      await request('PUT', path`/apps/${app}/webhooks/${id}`, body);
    }
    await onSaved();
  });
  return (
    <Dialog title={t(id === undefined ? 'addWebhook' : 'edit')} onClose={onClose}>
      <form
        onSubmit={(event) => {
          event.preventDefault();
          saving.run();
        }}
      >
        <Field label="URL" type="url" value={draft.url} onValue={(url) => change({ url })} placeholder="https://example.com/hook" required />
        <fieldset class="wide">
          <legend>{t('tells')}</legend>
          <div class="grid">
            {EVENTS.map((name) => (
              <Switch
                key={name}
                label={named('kind', name.replace('channel_', ''))}
                value={draft.events.includes(name)}
                onValue={(isOn) => change({ events: isOn ? [...draft.events, name] : draft.events.filter((event) => event !== name) })}
              />
            ))}
          </div>
        </fieldset>
        <div class="grid">
          <Field label={t('startsWith')} value={draft.channel_prefix ?? ''} onValue={(channel_prefix) => change({ channel_prefix })} />
          <Field label={t('endsWith')} value={draft.channel_suffix ?? ''} onValue={(channel_suffix) => change({ channel_suffix })} />
          <Field label={t('expression')} value={draft.channel_pattern ?? ''} onValue={(channel_pattern) => change({ channel_pattern })} />
        </div>
        <Area label={t('headers')} hint={t('headersHint')} rows={3} value={headers} onValue={setHeaders} />
        <Problem error={saving.error} />
        <button class="main" disabled={saving.isBusy}>
          {t('save')}
        </button>
      </form>
    </Dialog>
  );
}

function readHeaders(text: string): Record<string, string> {
  const lines = text.split('\n').filter((line) => line.trim() !== '');
  return Object.fromEntries(
    lines.map((line) => {
      const colon = line.indexOf(':');
      return colon < 0 ? [line.trim(), ''] : [line.slice(0, colon).trim(), line.slice(colon + 1).trim()];
    }),
  );
}
