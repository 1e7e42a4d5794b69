// Who may use the console.

import { useState } from 'preact/hooks';

import { type Account, get, path, request, type Role } from '../api';
import type { Place } from '../console';
import { useAction, useData } from '../data';
import { Card, Choice, Dialog, Empty, Field, Loaded, Page, Problem, State, Sure, Table } from '../parts/basics';
import { t, when } from '../words';

const roles = (): [Role, string][] => [
  ['admin', t('roleAdmin')],
  ['viewer', t('roleViewer')],
];

export function AccountsPage({ session, mayChange }: Place) {
  const data = useData(async () => (await get<{ accounts: Account[] }>('/accounts')).accounts, []);
  const [isMaking, setMaking] = useState(false);
  const [renewed, setRenewed] = useState<string>();
  const change = useAction(async (act: () => Promise<unknown>) => {
    await act();
    await data.reload();
  });
  const isPerson = session.name !== 'loopback';
  return (
    <Page
      title={t('accounts')}
      actions={
        mayChange && (
          <button class="main" onClick={() => setMaking(true)}>
            {t('newAccount')}
          </button>
        )
      }
    >
      {!session.has_database && <p class="notice soon">{t('accountsInMemory')}</p>}
      <Problem error={change.error} />
      <Loaded data={data}>
        {(accounts) =>
          accounts.length === 0 ? (
            <Empty>{t('noAccounts')}</Empty>
          ) : (
            <Card>
              <Table label={t('accounts')} head={[t('name'), t('role'), '', t('created')]}>
                {accounts.map((account) => (
                  <tr key={account.name}>
                    <td>{account.name}</td>
                    <td>
                      <State kind="plain">{t(account.role === 'admin' ? 'roleAdmin' : 'roleViewer')}</State>
                    </td>
                    <td>
                      {mayChange && (
                        <div class="actions">
                          <button class="small" onClick={() => change.run(() => request('PATCH', path`/accounts/${account.name}`, { role: account.role === 'admin' ? 'viewer' : 'admin' }))}>
                            {t(account.role === 'admin' ? 'makeViewer' : 'makeAdmin')}
                          </button>
                          <button class="small" onClick={() => setRenewed(account.name)}>
                            {t('newPassword')}
                          </button>
                          <Sure label={t('delete')} question={t('deleteAccountSure')} onSure={() => change.run(() => request('DELETE', path`/accounts/${account.name}`))} />
                        </div>
                      )}
                    </td>
                    <td>{when(account.created_ms)}</td>
                  </tr>
                ))}
              </Table>
            </Card>
          )
        }
      </Loaded>
      {isPerson && <OwnPassword />}
      {isMaking && <NewAccount isFirst={data.value?.length === 0} onClose={() => setMaking(false)} onMade={data.reload} />}
      {renewed !== undefined && <Renewal name={renewed} onClose={() => setRenewed(undefined)} />}
    </Page>
  );
}

function NewAccount({ isFirst, onClose, onMade }: { isFirst: boolean; onClose: () => void; onMade: () => Promise<void> }) {
  const [name, setName] = useState('');
  const [password, setPassword] = useState('');
  const [role, setRole] = useState<Role>(isFirst ? 'admin' : 'viewer');
  const making = useAction(async () => {
    await request('POST', '/accounts', { name, password, role });
    await onMade();
    onClose();
  });
  return (
    <Dialog title={t('newAccount')} onClose={onClose}>
      <form
        onSubmit={(event) => {
          event.preventDefault();
          making.run();
        }}
      >
        <Field label={t('name')} value={name} onValue={setName} autocomplete="off" required />
        <Field label={t('password')} hint={t('passwordHint')} type="password" value={password} onValue={setPassword} autocomplete="new-password" minlength={10} required />
        <Choice label={t('role')} value={role} options={roles()} onValue={setRole} />
        <Problem error={making.error} />
        <button class="main" disabled={making.isBusy}>
          {t('create')}
        </button>
      </form>
    </Dialog>
  );
}

function Renewal({ name, onClose }: { name: string; onClose: () => void }) {
  const [password, setPassword] = useState('');
  const saving = useAction(async () => {
    await request('PATCH', path`/accounts/${name}`, { password });
    onClose();
  });
  return (
    <Dialog title={`${t('newPassword')}: ${name}`} onClose={onClose}>
      <form
        onSubmit={(event) => {
          event.preventDefault();
          saving.run();
        }}
      >
        <Field label={t('newPassword')} hint={t('passwordHint')} type="password" value={password} onValue={setPassword} autocomplete="new-password" minlength={10} required />
        <Problem error={saving.error} />
        <button class="main" disabled={saving.isBusy}>
          {t('save')}
        </button>
      </form>
    </Dialog>
  );
}

function OwnPassword() {
  const [old, setOld] = useState('');
  const [fresh, setFresh] = useState('');
  const [isDone, setDone] = useState(false);
  const saving = useAction(async () => {
    setDone(false);
    await request('PUT', '/session/password', { old, new: fresh });
    setOld('');
    setFresh('');
    setDone(true);
  });
  return (
    <Card title={t('ownPassword')}>
      <form
        onSubmit={(event) => {
          event.preventDefault();
          saving.run();
        }}
      >
        <div class="grid">
          <Field label={t('oldPassword')} type="password" value={old} onValue={setOld} autocomplete="current-password" required />
          <Field label={t('newPassword')} hint={t('passwordHint')} type="password" value={fresh} onValue={setFresh} autocomplete="new-password" minlength={10} required />
        </div>
        <Problem error={saving.error} />
        <div class="split">
          <button disabled={saving.isBusy}>{t('save')}</button>
          <span role="status">{isDone && <span class="state good">{t('saved')}</span>}</span>
        </div>
      </form>
    </Card>
  );
}
