// Which channels of an app keep what was sent on them, for pages that come back.

import type { HistoryRule } from '../api';
import { Card, Empty, Field, Switch } from '../parts/basics';
import { t } from '../words';

/** What the server takes for what is not said. */
const FRESH: HistoryRule = { channels: '', events: 1000, seconds: 3600, bytes: 4_194_304, client_events: false };

/** As many as the server takes. */
const MAX_RULES = 100;

export function HistoryRules({ rules, onRules, mayChange }: { rules: HistoryRule[]; onRules: (rules: HistoryRule[]) => void; mayChange: boolean }) {
  const change = (position: number, part: Partial<HistoryRule>) => onRules(rules.map((rule, index) => (index === position ? { ...rule, ...part } : rule)));
  return (
    <Card
      title={t('historyRules')}
      actions={
        mayChange &&
        rules.length < MAX_RULES && (
          <button type="button" onClick={() => onRules([...rules, FRESH])}>
            {t('addRule')}
          </button>
        )
      }
    >
      <p class="soft">{t('historyRulesHint')}</p>
      {rules.length === 0 && <Empty>{t('noHistoryRules')}</Empty>}
      {rules.map((rule, position) => (
        // Rules have no name of their own, and their order means something.
        <fieldset class="rule" key={position} aria-label={t('historyRule', { number: position + 1 })}>
          <div class="grid">
            <Field label={t('channels')} hint={t('patternHint')} value={rule.channels} onValue={(channels) => change(position, { channels })} required />
            <Amount label={t('historyEvents')} value={rule.events} onValue={(events) => change(position, { events })} />
            <Amount label={t('historySeconds')} value={rule.seconds} onValue={(seconds) => change(position, { seconds })} />
            <Amount label={t('historyBytes')} value={rule.bytes} onValue={(bytes) => change(position, { bytes })} />
          </div>
          <div class="split">
            <Switch label={t('historyClientEvents')} value={rule.client_events} onValue={(client_events) => change(position, { client_events })} />
            {mayChange && (
              <button type="button" class="small danger" onClick={() => onRules(rules.filter((_, index) => index !== position))}>
                {t('removeRule')}
              </button>
            )}
          </div>
        </fieldset>
      ))}
    </Card>
  );
}

function Amount({ label, value, onValue }: { label: string; value: number; onValue: (value: number) => void }) {
  return <Field type="number" min={1} required label={label} value={Number.isNaN(value) ? '' : String(value)} onValue={(text) => onValue(text === '' ? NaN : Number(text))} />;
}
