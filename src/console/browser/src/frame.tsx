// What stands around every page: where one can go, who one is, how it looks.

import type { ComponentChildren } from 'preact';
import { useEffect, useRef, useState } from 'preact/hooks';

import { type Session, signOut } from './api';
import { useAction } from './data';
import { Choice, Problem } from './parts/basics';
import { link } from './route';
import { LANGUAGES, type Language, t, type Word } from './words';

const PAGES = ['overview', 'debug', 'publish', 'channels', 'connections', 'apps', 'nodes', 'accounts', 'audit'] as const satisfies Word[];

type Theme = '' | 'light' | 'dark';
const KEPT_THEME = 'fanfare-theme';

interface FrameProps {
  session: Session;
  onSession: (session: Session) => void;
  language: Language;
  onLanguage: (language: Language) => void;
  page: string;
  children: ComponentChildren;
}

export function Frame({ session, onSession, language, onLanguage, page, children }: FrameProps) {
  const [isOpen, setOpen] = useState(false);
  const main = useRef<HTMLElement>(null);
  const leaving = useAction(async () => {
    await signOut();
    onSession({ state: 'signed_out' });
  });
  useEffect(() => setOpen(false), [page]);
  return (
    <div class="frame">
      <a
        class="skip"
        href="#main"
        onClick={(event) => {
          event.preventDefault();
          main.current?.focus();
        }}
      >
        {t('skip')}
      </a>
      <div class={isOpen ? 'side is-open' : 'side'}>
        <div class="brand">
          Fanfare
          <button type="button" class="small menu-button" aria-expanded={isOpen} onClick={() => setOpen(!isOpen)}>
            {t('menu')}
          </button>
        </div>
        <nav aria-label={t('pages')}>
          <ul>
            {PAGES.map((name) => (
              <li key={name}>
                <a href={link(name)} aria-current={name === page ? 'page' : undefined}>
                  {t(name)}
                </a>
              </li>
            ))}
          </ul>
        </nav>
        <footer>
          <Choice label={t('language')} value={language} options={Object.entries(LANGUAGES) as [Language, string][]} onValue={onLanguage} />
          <ThemeChoice />
          {session.name === 'loopback' ? (
            <p class="hint">{t('openHint')}</p>
          ) : (
            <>
              <p class="who">
                {session.name} <span class="soft">({t(session.role === 'admin' ? 'roleAdmin' : 'roleViewer')})</span>
              </p>
              <button type="button" onClick={leaving.run} disabled={leaving.isBusy}>
                {t('signOut')}
              </button>
              <Problem error={leaving.error} />
            </>
          )}
        </footer>
      </div>
      <main id="main" ref={main} tabIndex={-1}>
        {children}
      </main>
    </div>
  );
}

export function ThemeChoice() {
  const [theme, setTheme] = useState((localStorage.getItem(KEPT_THEME) ?? '') as Theme);
  useEffect(() => {
    localStorage.setItem(KEPT_THEME, theme);
    document.documentElement.dataset.theme = theme;
  }, [theme]);
  return (
    <Choice
      label={t('theme')}
      value={theme}
      options={[
        ['', t('themeSystem')],
        ['light', t('themeLight')],
        ['dark', t('themeDark')],
      ]}
      onValue={setTheme}
    />
  );
}
