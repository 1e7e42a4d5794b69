// Connections of all nodes: finding one, and closing it.

import { useState } from 'preact/hooks';

import { type Connection, type ConnectionDetail, get, path, query, Refusal, request } from '../api';
import type { Place } from '../console';
import { useAction, useData } from '../data';
import { Card, Empty, Facts, Field, Loaded, Page, Problem, Sure, Table, Unanswered } from '../parts/basics';
import { AppPicker, appOf, NoApps } from '../parts/picker';
import { go, link } from '../route';
import { bytes, named, span, t } from '../words';
import { Pager } from './channels';

interface ConnectionPage {
  connections: Connection[];
  next?: string;
  unanswered: number;
}

export function ConnectionsPage(place: Place) {
  const [socket] = place.rest;
  return socket === undefined ? <List {...place} /> : <ConnectionView key={socket} socket={socket} mayChange={place.mayChange} />;
}

function List(place: Place) {
  const app = appOf(place);
  const [wanted, setWanted] = useState('');
  const [after, setAfter] = useState<string[]>([]);
  const data = useData(async (): Promise<ConnectionPage> => (app ? get(path`/apps/${app}/connections` + query({ limit: 50, after: after.at(-1) })) : { connections: [], unanswered: 0 }), [app, after], 3);
  return (
    <Page title={t('connections')} actions={app && <AppPicker place={place} />}>
      <form
        onSubmit={(event) => {
          event.preventDefault();
          go('connections', wanted.trim());
        }}
      >
        <div class="split search">
          <Field label={t('socket')} type="search" value={wanted} onValue={setWanted} pattern="\s*\d+\.\d+\s*" placeholder="1234.5678" required />
          <button>{t('find')}</button>
        </div>
      </form>
      {!app ? (
        <NoApps />
      ) : (
        <Loaded data={data}>
          {({ connections, next, unanswered }) => (
            <>
              <Unanswered count={unanswered} />
              {connections.length === 0 ? (
                <Empty>{t('noConnections')}</Empty>
              ) : (
                <Card>
                  <Table isTight label={t('connections')} head={[t('socket'), t('user'), t('address'), t('transport'), t('client'), t('node'), t('since'), t('silent')]}>
                    {connections.map((connection) => (
                      <tr key={connection.socket_id}>
                        <td>
                          <a class="mono" href={link('connections', connection.socket_id)}>
                            {connection.socket_id}
                          </a>
                        </td>
                        <td>{connection.user_id}</td>
                        <td>{connection.address}</td>
                        <td>{connection.transport && named('transport', connection.transport)}</td>
                        <td>{connection.client}</td>
                        <td>{connection.node}</td>
                        <td>{span(connection.connected_seconds)}</td>
                        <td>{span(connection.silent_seconds)}</td>
                      </tr>
                    ))}
                  </Table>
                  <Pager before={after} next={next} onMove={setAfter} />
                </Card>
              )}
            </>
          )}
        </Loaded>
      )}
    </Page>
  );
}

function ConnectionView({ socket, mayChange }: { socket: string; mayChange: boolean }) {
  const data = useData(() => get<ConnectionDetail>(path`/connections/${socket}`), [socket], 2);
  const [isClosed, setClosed] = useState(false);
  const closing = useAction(async (reconnect: boolean) => {
    await request('DELETE', path`/connections/${socket}` + query({ reconnect: String(reconnect) }));
    setClosed(true);
  });
  const isGone = isClosed || (data.error instanceof Refusal && data.error.status === 404);
  return (
    <Page title={socket} actions={<a href={link('connections')}>{t('allConnections')}</a>}>
      {isGone ? (
        <Empty>{isClosed ? t('closedNow') : t('notHere')}</Empty>
      ) : (
        <Loaded data={data}>
          {(connection) => (
            <>
              <Card>
                <Facts
                  facts={[
                    [t('app'), <a href={link('apps', connection.app_id)}>{connection.app_id}</a>],
                    [t('node'), connection.node],
                    [t('user'), connection.user_id],
                    [t('address'), connection.address],
                    [t('transport'), connection.transport && named('transport', connection.transport)],
                    [t('client'), connection.client],
                    [t('since'), span(connection.connected_seconds)],
                    [t('silent'), span(connection.silent_seconds)],
                    [t('waiting'), connection.waiting_bytes === undefined ? undefined : bytes(connection.waiting_bytes)],
                  ]}
                />
                {mayChange && (
                  <div class="actions">
                    <Sure label={t('disconnect')} question={t('disconnectSure')} onSure={() => closing.run(false)} />
                    <Sure label={t('reconnect')} question={t('reconnectSure')} onSure={() => closing.run(true)} />
                  </div>
                )}
                <Problem error={closing.error} />
              </Card>
              <Card title={t('channels')}>
                {connection.channels.length === 0 ? (
                  <Empty>{t('noSubscriptions')}</Empty>
                ) : (
                  <div class="chips">
                    {connection.channels.map((channel) => (
                      <a class="mono" key={channel} href={link('channels', connection.app_id, channel)}>
                        {channel}
                      </a>
                    ))}
                  </div>
                )}
              </Card>
            </>
          )}
        </Loaded>
      )}
    </Page>
  );
}
