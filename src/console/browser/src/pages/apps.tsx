// All apps, and making one.

import { useState } from 'preact/hooks';

import { type App, request } from '../api';
import type { Place } from '../console';
import { useAction } from '../data';
import { Card, Choice, Code, Dialog, Empty, Field, Page, Problem, State, Table } from '../parts/basics';
import { go, link } from '../route';
import { named, number, t } from '../words';

interface Created {
  app: App;
  key: string;
  secret: string;
}

const PLANS = ['unlimited', 'sandbox', 'startup', 'pro'] as const;

export function AppsPage(place: Place) {
  const [isMaking, setMaking] = useState(false);
  return (
    <Page
      title={t('apps')}
      actions={
        place.mayChange && (
          <button class="main" onClick={() => setMaking(true)}>
            {t('newApp')}
          </button>
        )
      }
    >
      {place.apps.length === 0 ? (
        <Empty>{t('noApps')}</Empty>
      ) : (
        <Card>
          <Table isTight label={t('apps')} head={[t('app'), t('state'), t('connections'), t('plan'), t('webhooks'), t('kept')]}>
            {place.apps.map((app) => (
              <tr key={app.id}>
                <td>
                  <a class="mono" href={link('apps', app.id)}>
                    {app.id}
                  </a>
                </td>
                <td>
                  <AppState app={app} />
                </td>
                <td>{number(app.connections)}</td>
                <td>{named('plan', app.settings.plan)}</td>
                <td>{number(app.webhooks)}</td>
                <td>{named('origin', app.origin)}</td>
              </tr>
            ))}
          </Table>
        </Card>
      )}
      {isMaking && <NewApp place={place} onClose={() => setMaking(false)} />}
    </Page>
  );
}

export function AppState({ app }: { app: App }) {
  return <State kind={app.settings.enabled ? 'good' : 'bad'}>{t(app.settings.enabled ? 'enabled' : 'disabled')}</State>;
}

function NewApp({ place, onClose }: { place: Place; onClose: () => void }) {
  const [id, setId] = useState('');
  const [plan, setPlan] = useState<(typeof PLANS)[number]>('unlimited');
  const [created, setCreated] = useState<Created>();
  const making = useAction(async () => {
    setCreated(await request<Created>('POST', '/apps', { ...(id && { id }), settings: { plan } }));
    await place.reloadApps();
  });
  return (
    <Dialog
      title={t('newApp')}
      onClose={() => {
        onClose();
        if (created) {
          place.chooseApp(created.app.id);
          go('apps', created.app.id);
        }
      }}
    >
      {created ? (
        <Secret keyPair={created} />
      ) : !place.session.has_database ? (
        <p class="notice">{t('needsDatabase')}</p>
      ) : (
        <form
          onSubmit={(event) => {
            event.preventDefault();
            making.run();
          }}
        >
          <Field label={t('appId')} hint={t('appIdHint')} value={id} onValue={setId} pattern="[A-Za-z0-9_.\-]{1,128}" />
          <Choice label={t('plan')} value={plan} options={PLANS.map((name) => [name, named('plan', name)])} onValue={setPlan} />
          <Problem error={making.error} />
          <button class="main" disabled={making.isBusy}>
            {t('create')}
          </button>
        </form>
      )}
    </Dialog>
  );
}

/** A key and its secret, which is never shown again. */
export function Secret({ keyPair: { key, secret } }: { keyPair: { key: string; secret: string } }) {
  return (
    <div class="wide">
      <p class="notice soon" role="alert">
        {t('secretOnce')}
      </p>
      <p>{t('key')}</p>
      <Code label={t('key')} text={key} />
      <p>{t('secret')}</p>
      <Code label={t('secret')} text={secret} />
    </div>
  );
}
