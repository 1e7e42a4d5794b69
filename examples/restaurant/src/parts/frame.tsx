// What all pages have: a bar at the top, and the truth about the connection.

import { duration, timeOfDay, useNow } from '../data/clock';
import { useLink, useView } from '../data/use-restaurant';
import { useFullScreen, useTheme } from '../hooks/use-display';
import { Icon } from './icons';

interface FrameProps {
  title: string;
  /** Beside the title. */
  bar?: React.ReactNode;
  /** Further buttons at the right. */
  tools?: React.ReactNode;
  children: React.ReactNode;
}

export function Frame({ title, bar, tools, children }: FrameProps) {
  const { isFull, toggle: toggleFull } = useFullScreen();
  const { isDark, toggle: toggleTheme } = useTheme();
  return (
    <div className="frame">
      <header className="bar">
        <a href="/" className="tool" aria-label="All screens" title="All screens">
          <Icon name="home" />
        </a>
        <h1>{title}</h1>
        {bar}
        <div className="tools">
          <LinkState />
          <Clock />
          {tools}
          <Tool label={isDark ? 'Light' : 'Dark'} icon={isDark ? 'sun' : 'moon'} onClick={toggleTheme} />
          {document.fullscreenEnabled && (
            <Tool label={isFull ? 'Leave full screen' : 'Full screen'} icon={isFull ? 'shrink' : 'grow'} onClick={toggleFull} />
          )}
        </div>
      </header>
      <Outage />
      {children}
    </div>
  );
}

interface ToolProps {
  label: string;
  icon: Parameters<typeof Icon>[0]['name'];
  onClick: () => void;
  isOn?: boolean;
}

export function Tool({ label, icon, onClick, isOn }: ToolProps) {
  return (
    <button className="tool" aria-label={label} title={label} aria-pressed={isOn} onClick={onClick}>
      <Icon name={icon} />
    </button>
  );
}

function LinkState() {
  const { state } = useLink();
  return (
    <span className="link-state" data-state={state} role="status">
      {{ live: 'Live', connecting: 'Connecting', offline: 'Offline' }[state]}
    </span>
  );
}

function Clock() {
  useNow();
  return <time className="clock">{timeOfDay(Date.now())}</time>;
}

/** Says since when something may be missing, and what that means. */
function Outage() {
  const { state, since } = useLink();
  const { unsent, knownAt } = useView();
  useNow();
  if (state !== 'offline') {
    return null;
  }
  return (
    <p className="outage" role="alert">
      <Icon name="alert" />
      <strong>
        Offline since {timeOfDay(since)} <span className="ago">({duration(Date.now() - since)})</span>
      </strong>
      <span>
        {knownAt > 0 && 'This is what was known then. '}
        What you do is kept and sent later
        {unsent > 0 && `: ${unsent} ${unsent === 1 ? 'step waits' : 'steps wait'}`}.
      </span>
    </p>
  );
}

/** Stands where a page has nothing to show, and says why. */
export function Nothing({ title, children }: { title: string; children: React.ReactNode }) {
  const { knownAt } = useView();
  const { state } = useLink();
  if (knownAt === 0) {
    return (
      <div className="nothing" data-kind="loading">
        {state === 'offline' ? (
          <>
            <h2>Nothing is known yet</h2>
            <p>This device could not reach the restaurant's computer so far. It goes on trying.</p>
          </>
        ) : (
          <h2>One moment …</h2>
        )}
      </div>
    );
  }
  return (
    <div className="nothing" data-kind="empty">
      <h2>{title}</h2>
      <p>{children}</p>
    </div>
  );
}
