// Who is here, what they look at, and in which app.

import { useCallback, useEffect, useState } from 'preact/hooks';

import { type App, get, type Session, session as askSession, whenSignedOut } from './api';
import { useData } from './data';
import { Frame } from './frame';
import { AccountsPage } from './pages/accounts';
import { AppPage } from './pages/app';
import { AppsPage } from './pages/apps';
import { AuditPage } from './pages/audit';
import { ChannelsPage } from './pages/channels';
import { ConnectionsPage } from './pages/connections';
import { DebugPage } from './pages/debug';
import { NodesPage } from './pages/nodes';
import { OverviewPage } from './pages/overview';
import { PublishPage } from './pages/publish';
import { Door } from './pages/door';
import { Loaded, Page } from './parts/basics';
import { link, useRoute } from './route';
import { choose, language, t } from './words';

const KEPT_APP = 'fanfare-app';

/** What every page is given. */
export interface Place {
  session: Session;
  apps: App[];
  /** The app that is looked at; empty: all of them. */
  app: string;
  chooseApp: (id: string) => void;
  reloadApps: () => Promise<void>;
  mayChange: boolean;
  /** What stands in the address behind the name of the page. */
  rest: string[];
}

export function Console() {
  const [words, setWords] = useState(language());
  const found = useData(askSession, []);
  const [changed, setChanged] = useState<Session>();
  const [hasEnded, setEnded] = useState(false);
  useEffect(
    () =>
      whenSignedOut(() => {
        setEnded(true);
        // Where nobody has to sign in, or nobody can yet, that is shown instead.
        askSession()
          .then((fresh) => fresh.state !== 'signed_out' && setSession(fresh))
          .catch(() => {});
      }),
    [],
  );

  const setSession = (session: Session) => {
    setEnded(false);
    setChanged(session);
  };
  const session = hasEnded ? { state: 'signed_out' as const } : (changed ?? found.value);
  const chooseLanguage = (wanted: typeof words) => {
    choose(wanted);
    setWords(wanted);
  };
  if (!session) {
    return (
      <div class="door">
        <main>
          <Loaded data={found}>{() => null}</Loaded>
        </main>
      </div>
    );
  }
  if (session.state !== 'signed_in') {
    return <Door session={session} onSession={setSession} language={words} onLanguage={chooseLanguage} hasEnded={hasEnded} />;
  }
  return <Inside session={session} onSession={setSession} language={words} onLanguage={chooseLanguage} />;
}

interface InsideProps {
  session: Session;
  onSession: (session: Session) => void;
  language: ReturnType<typeof language>;
  onLanguage: (language: ReturnType<typeof import('./words').language>) => void;
}

function Inside({ session, onSession, language, onLanguage }: InsideProps) {
  const route = useRoute();
  const apps = useData(async () => (await get<{ apps: App[] }>('/apps?limit=1000')).apps, [], 30);
  const [app, setApp] = useState(localStorage.getItem(KEPT_APP) ?? '');
  const chooseApp = useCallback((id: string) => {
    localStorage.setItem(KEPT_APP, id);
    setApp(id);
  }, []);
  const known = apps.value ?? [];
  // The link of the first account, which there is by now.
  const [page = 'overview', ...rest] = route[0] === 'begin' ? [] : route;
  const place: Place = {
    session,
    apps: known,
    app: known.some(({ id }) => id === app) ? app : '',
    chooseApp,
    reloadApps: apps.reload,
    mayChange: session.role === 'admin',
    rest,
  };
  return (
    <Frame session={session} onSession={onSession} language={language} onLanguage={onLanguage} page={page}>
      <Loaded data={apps}>{() => <Shown key={language} name={page} place={place} />}</Loaded>
    </Frame>
  );
}

function Shown({ name, place }: { name: string; place: Place }) {
  switch (name) {
    case 'overview':
      return <OverviewPage {...place} />;
    case 'debug':
      return <DebugPage {...place} />;
    case 'publish':
      return <PublishPage {...place} />;
    case 'channels':
      return <ChannelsPage {...place} />;
    case 'connections':
      return <ConnectionsPage {...place} />;
    case 'apps':
      return place.rest[0] === undefined ? <AppsPage {...place} /> : <AppPage {...place} key={place.rest[0]} />;
    case 'nodes':
      return <NodesPage />;
    case 'accounts':
      return <AccountsPage {...place} />;
    case 'audit':
      return <AuditPage />;
    default:
      return (
        <Page title={t('nothingHere')}>
          <p>
            <a href={link('overview')}>{t('overview')}</a>
          </p>
        </Page>
      );
  }
}
