// Occupied channels, and one of them with all that is known of it.

import { useState } from 'preact/hooks';

import { type Channel, type ChannelDetail, get, type PastEvent, path, query } from '../api';
import type { Place } from '../console';
import { useData } from '../data';
import { Card, Code, Empty, Facts, Field, Loaded, Page, pretty, State, Table, Unanswered } from '../parts/basics';
import { AppPicker, appOf, NoApps } from '../parts/picker';
import { link } from '../route';
import { bytes, number, t, when } from '../words';

interface ChannelPage {
  channels: Channel[];
  next?: string;
}

export function ChannelsPage(place: Place) {
  const [app, name] = place.rest;
  if (app !== undefined && name !== undefined) {
    return <ChannelView key={`${app}/${name}`} app={app} name={name} />;
  }
  return <List {...place} />;
}

function List(place: Place) {
  const app = appOf(place);
  const [prefix, setPrefix] = useState('');
  const [after, setAfter] = useState<string[]>([]);
  const data = useData(async (): Promise<ChannelPage> => (app ? get(path`/apps/${app}/channels` + query({ prefix, limit: 50, after: after.at(-1) })) : { channels: [] }), [app, prefix, after], 3);
  return (
    <Page title={t('channels')} actions={app && <AppPicker place={place} />}>
      {!app ? (
        <NoApps />
      ) : (
        <>
          <Field
            label={t('startsWith')}
            type="search"
            value={prefix}
            onValue={(value) => {
              setPrefix(value);
              setAfter([]);
            }}
          />
          <Loaded data={data}>
            {({ channels, next }) =>
              channels.length === 0 ? (
                <Empty>{t('noChannels')}</Empty>
              ) : (
                <Card>
                  <Table label={t('channels')} head={[t('channel'), t('subscriptions'), t('users')]}>
                    {channels.map(({ name, subscriptions, users }) => (
                      <tr key={name}>
                        <td>
                          <a class="mono" href={link('channels', app, name)}>
                            {name}
                          </a>
                        </td>
                        <td>{number(subscriptions)}</td>
                        <td>{users === undefined ? '' : number(users)}</td>
                      </tr>
                    ))}
                  </Table>
                  <Pager before={after} next={next} onMove={setAfter} />
                </Card>
              )
            }
          </Loaded>
        </>
      )}
    </Page>
  );
}

export function Pager({ before, next, onMove }: { before: string[]; next: string | undefined; onMove: (before: string[]) => void }) {
  if (before.length === 0 && next === undefined) {
    return null;
  }
  return (
    <div class="actions">
      <button type="button" disabled={before.length === 0} onClick={() => onMove(before.slice(0, -1))}>
        {t('earlier')}
      </button>
      <button type="button" disabled={next === undefined} onClick={() => next !== undefined && onMove([...before, next])}>
        {t('later')}
      </button>
    </div>
  );
}

function ChannelView({ app, name }: { app: string; name: string }) {
  const data = useData(() => get<ChannelDetail>(path`/apps/${app}/channels/${name}`), [app, name], 3);
  return (
    <Page title={name} actions={<a href={link('channels')}>{t('allChannels')}</a>}>
      <Loaded data={data}>
        {(channel) => (
          <>
            <Card>
              <Facts
                facts={[
                  [t('app'), app],
                  [t('subscriptions'), number(channel.subscriptions)],
                  [t('users'), channel.users === undefined ? undefined : number(channel.users)],
                ]}
              />
            </Card>
            <div class="columns">
              {channel.user_ids && (
                <Card title={t('members')}>
                  {channel.user_ids.length === 0 ? (
                    <Empty>{t('nobody')}</Empty>
                  ) : (
                    <div class="chips">
                      {channel.user_ids.map((user) => (
                        <State kind="plain" key={user}>
                          {user}
                        </State>
                      ))}
                    </div>
                  )}
                </Card>
              )}
              <Card title={t('connections')}>
                <Unanswered count={channel.unanswered} />
                {!channel.socket_ids ? (
                  <Empty>{t('busyChannel')}</Empty>
                ) : channel.socket_ids.length === 0 ? (
                  <Empty>{t('nobody')}</Empty>
                ) : (
                  <div class="chips">
                    {channel.socket_ids.map((socket) => (
                      <a class="mono" key={socket} href={link('connections', socket)}>
                        {socket}
                      </a>
                    ))}
                  </div>
                )}
              </Card>
              {channel.cached && (
                <Card title={t('cachedEvent')}>
                  <Past event={channel.cached} />
                </Card>
              )}
            </div>
            {channel.has_history && <History app={app} name={name} />}
          </>
        )}
      </Loaded>
    </Page>
  );
}

function History({ app, name }: { app: string; name: string }) {
  const [after, setAfter] = useState<string[]>([]);
  const [open, setOpen] = useState<string>();
  const data = useData(() => get<{ events: PastEvent[]; next?: string }>(path`/apps/${app}/channels/${name}/events` + query({ limit: 50, after: after.at(-1) })), [app, name, after], 3);
  return (
    <Card title={t('history')}>
      <Loaded data={data}>
        {({ events, next }) =>
          events.length === 0 ? (
            <Empty>{t('noHistory')}</Empty>
          ) : (
            <>
              <ol class="feed dated" aria-label={t('history')}>
                {events.map((event) => (
                  <li key={event.id}>
                    <button type="button" aria-expanded={event.id === open} onClick={() => setOpen(event.id === open ? undefined : event.id)}>
                      <time class="soft">{when(event.at_ms ?? 0)}</time>
                      <strong class="what mono">{event.name}</strong>
                      <span class="what mono">{event.data ?? t('hidden', { size: bytes(event.data_bytes) })}</span>
                    </button>
                    {event.id === open && (
                      <div class="details">
                        <PastData event={event} />
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
    </Card>
  );
}

function Past({ event }: { event: PastEvent }) {
  return (
    <div class="wide">
      <p>
        <strong class="mono">{event.name}</strong> {event.at_ms !== undefined && <span class="soft">{when(event.at_ms)}</span>}
      </p>
      <PastData event={event} />
    </div>
  );
}

function PastData({ event }: { event: PastEvent }) {
  if (event.data === undefined) {
    return <p class="notice">{t('dataHidden', { size: bytes(event.data_bytes) })}</p>;
  }
  return <Code label={event.name} text={pretty(event.data)} />;
}
