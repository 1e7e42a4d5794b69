// What became of the webhooks of an app, and sending one again.

import { useState } from 'preact/hooks';

import { type App, type Delivery, get, path, query, request } from '../api';
import { useAction, useData } from '../data';
import { Card, Choice, Code, Empty, Facts, Loaded, pretty, Problem, State } from '../parts/basics';
import { named, number, t, when } from '../words';
import { Pager } from './channels';

const STATES = ['waiting', 'delivered', 'given_up', 'refused', 'dropped'] as const;

export function DeliveriesTab({ app, mayChange }: { app: App; mayChange: boolean }) {
  const [state, setState] = useState('');
  const [after, setAfter] = useState<string[]>([]);
  const [open, setOpen] = useState<string>();
  const data = useData(() => get<{ deliveries: Delivery[]; next?: string }>(path`/apps/${app.id}/deliveries` + query({ state, limit: 50, after: after.at(-1) })), [app.id, state, after], 5);
  const sending = useAction(async (id: string) => {
    await request('POST', path`/apps/${app.id}/deliveries/${id}/redeliver`);
    await data.reload();
  });
  return (
    <>
      <Choice
        isInline
        label={t('state')}
        value={state}
        options={[['', t('allStates')], ...STATES.map((name): [string, string] => [name, named('outcome', name)])]}
        onValue={(value) => {
          setState(value);
          setAfter([]);
        }}
      />
      <Problem error={sending.error} />
      <Loaded data={data}>
        {({ deliveries, next }) =>
          deliveries.length === 0 ? (
            <Empty>{t('noDeliveries')}</Empty>
          ) : (
            <>
              <ol class="feed dated" aria-label={t('deliveries')}>
                {deliveries.map((delivery) => (
                  <li key={delivery.id}>
                    <button type="button" aria-expanded={delivery.id === open} onClick={() => setOpen(delivery.id === open ? undefined : delivery.id)}>
                      <time class="soft">{when(delivery.created_ms)}</time>
                      <span>
                        <State kind={colour(delivery)}>{named('outcome', delivery.state)}</State>
                      </span>
                      <span class="what mono">{[delivery.url, delivery.status && `HTTP ${delivery.status}`, delivery.error].filter(Boolean).join('  ')}</span>
                    </button>
                    {delivery.id === open && (
                      <div class="details">
                        <Facts
                          facts={[
                            ['URL', delivery.url],
                            [t('attempts'), number(delivery.attempts)],
                            [t('answer'), delivery.status],
                            [t('duration'), delivery.latency_ms === undefined ? undefined : t('milliseconds', { ms: number(delivery.latency_ms) })],
                            [t('problem'), delivery.error],
                          ]}
                        />
                        {mayChange && (
                          <div class="actions">
                            <button class="small" onClick={() => sending.run(delivery.id)} disabled={sending.isBusy}>
                              {t('sendAgain')}
                            </button>
                          </div>
                        )}
                        <Code label={t('body')} text={pretty(delivery.body)} />
                      </div>
                    )}
                  </li>
                ))}
              </ol>
              <Pager before={after} next={next} onMove={setAfter} />
            </>
          )
        }
      </Loaded>
      <Card>
        <p class="hint">{t('deliveriesHint')}</p>
      </Card>
    </>
  );
}

function colour({ state }: Delivery): 'good' | 'soon' | 'bad' {
  return state === 'delivered' ? 'good' : state === 'waiting' ? 'soon' : 'bad';
}
