// Switches, plan and limits of an app.

import { useState } from 'preact/hooks';

import { type Limits, path, request, type Settings } from '../api';
import { useAction } from '../data';
import { Area, Card, Choice, Field, Problem, Sure, Switch } from '../parts/basics';
import { go } from '../route';
import { named, t, type Word } from '../words';
import type { AppProps } from './app';
import { HistoryRules } from './history';

const SWITCHES = ['enabled', 'client_events', 'subscription_count', 'watchlist', 'authorized_connections', 'tls_only', 'bind_sessions', 'webhook_batching', 'subscription_errors', 'soketi_answers'] as const;

/** Those that may be absent, which means that there is no limit. */
const OPEN_LIMITS = ['connections', 'messages_per_day', 'backend_events_per_second', 'reads_per_second', 'app_client_events_per_second', 'messages_per_second'];

const PLANS = ['unlimited', 'sandbox', 'startup', 'pro'] as const;

export function SettingsTab({ app, mayChange, reload }: AppProps) {
  const [draft, setDraft] = useState<Settings>(app.settings);
  const [origins, setOrigins] = useState(app.settings.allowed_origins.join('\n'));
  const [isSaved, setSaved] = useState(false);
  const change = (part: Partial<Settings>) => {
    setSaved(false);
    setDraft({ ...draft, ...part });
  };
  const saving = useAction(async () => {
    const wanted = { ...draft, allowed_origins: origins.split(/\s+/).filter(Boolean) };
    await request('PATCH', path`/apps/${app.id}`, difference(app.settings, wanted));
    await reload();
    setSaved(true);
  });
  const deleting = useAction(async () => {
    await request('DELETE', path`/apps/${app.id}`);
    await reload().catch(() => {});
    go('apps');
  });
  const limits = [...OPEN_LIMITS, ...Object.keys(app.settings.limits).filter((name) => !OPEN_LIMITS.includes(name))];
  return (
    <form
      onSubmit={(event) => {
        event.preventDefault();
        saving.run();
      }}
    >
      <fieldset class="wide" disabled={!mayChange}>
        <Card title={t('switches')}>
          <div class="grid">
            {SWITCHES.map((name) => (
              <Switch key={name} label={named('switch', name)} hint={t(`switchHint_${name}` as Word)} value={draft[name]} onValue={(value) => change({ [name]: value })} />
            ))}
          </div>
        </Card>
        <Card title={t('limits')}>
          <div class="grid">
            <Choice label={t('plan')} value={draft.plan} options={PLANS.map((name) => [name, named('plan', name)])} onValue={(plan) => change({ plan })} />
            <Choice
              label={t('overQuota')}
              value={draft.over_quota}
              options={[
                ['retry_later', t('overQuotaLater')],
                ['refuse', t('overQuotaRefuse')],
              ]}
              onValue={(over_quota) => change({ over_quota })}
            />
          </div>
          <div class="grid">
            {limits.map((name) => (
              <LimitField key={name} name={name} limits={draft.limits} onLimits={(limits) => change({ limits })} />
            ))}
          </div>
        </Card>
        <Card>
          <Area
            label={t('origins')}
            hint={t('originsHint')}
            rows={3}
            value={origins}
            onValue={(value) => {
              setSaved(false);
              setOrigins(value);
            }}
          />
        </Card>
        <HistoryRules rules={draft.history} onRules={(history) => change({ history })} mayChange={mayChange} />
        <Problem error={saving.error ?? deleting.error} />
        {mayChange && (
          <div class="split">
            <button class="main" disabled={saving.isBusy}>
              {t('save')}
            </button>
            <span role="status">{isSaved && <span class="state good">{t('saved')}</span>}</span>
            <Sure label={t('deleteApp')} question={t('deleteAppSure')} onSure={deleting.run} disabled={deleting.isBusy} />
          </div>
        )}
      </fieldset>
    </form>
  );
}

function LimitField({ name, limits, onLimits }: { name: string; limits: Limits; onLimits: (limits: Limits) => void }) {
  const isOpen = OPEN_LIMITS.includes(name);
  const value = limits[name];
  return (
    <Field
      type="number"
      min={0}
      label={named('limit', name)}
      placeholder={isOpen ? t('noLimit') : ''}
      required={!isOpen}
      value={value === undefined || value === null ? '' : String(value)}
      onValue={(text) => onLimits({ ...limits, [name]: text === '' ? null : Number(text) })}
    />
  );
}

/** What is to be changed, as a merge patch: nothing else is touched. */
function difference(before: Settings, after: Settings): Partial<Record<string, unknown>> {
  const isSame = (one: unknown, other: unknown) => JSON.stringify(one ?? null) === JSON.stringify(other ?? null);
  const { limits: oldLimits, ...old } = before;
  const { limits: newLimits, ...fresh } = after;
  const changed = Object.entries(fresh).filter(([name, value]) => !isSame(value, old[name as keyof typeof old]));
  const limits = Object.entries(newLimits).filter(([name, value]) => !isSame(value, oldLimits[name]));
  return { ...Object.fromEntries(changed), ...(limits.length > 0 && { limits: Object.fromEntries(limits) }) };
}
