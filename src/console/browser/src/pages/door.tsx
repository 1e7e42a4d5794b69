// Signing in, and the first account.

import { useState } from 'preact/hooks';

import { begin, type Session, signIn } from '../api';
import { useAction } from '../data';
import { Choice, Field, Problem } from '../parts/basics';
import { go, useRoute } from '../route';
import { LANGUAGES, type Language, t } from '../words';

interface DoorProps {
  session: Session;
  onSession: (session: Session) => void;
  language: Language;
  onLanguage: (language: Language) => void;
  hasEnded: boolean;
}

export function Door({ session, onSession, language, onLanguage, hasEnded }: DoorProps) {
  return (
    <div class="door">
      <main>
        <div class="brand">Fanfare</div>
        {session.state === 'begin' ? <Begin onSession={onSession} /> : <SignIn onSession={onSession} hasEnded={hasEnded} />}
        <Choice isInline label={t('language')} value={language} options={Object.entries(LANGUAGES) as [Language, string][]} onValue={onLanguage} />
      </main>
    </div>
  );
}

function SignIn({ onSession, hasEnded }: { onSession: (session: Session) => void; hasEnded: boolean }) {
  const [name, setName] = useState('');
  const [password, setPassword] = useState('');
  const entering = useAction(async () => onSession(await signIn(name, password)));
  return (
    <section class="card">
      <h1>{t('signIn')}</h1>
      {hasEnded && <p class="notice soon">{t('sessionEnded')}</p>}
      <form
        onSubmit={(event) => {
          event.preventDefault();
          entering.run();
        }}
      >
        <Field label={t('name')} value={name} onValue={setName} autocomplete="username" autofocus required />
        <Field label={t('password')} type="password" value={password} onValue={setPassword} autocomplete="current-password" required />
        <Problem error={entering.error} />
        <button class="main" disabled={entering.isBusy}>
          {t('signIn')}
        </button>
      </form>
    </section>
  );
}

function Begin({ onSession }: { onSession: (session: Session) => void }) {
  const [page, invitation = ''] = useRoute();
  const [name, setName] = useState('');
  const [password, setPassword] = useState('');
  const making = useAction(async () => {
    const session = await begin(invitation, name, password);
    go('overview');
    onSession(session);
  });
  const hasLink = page === 'begin' && invitation !== '';
  return (
    <section class="card">
      <h1>{t('firstAccount')}</h1>
      {!hasLink && <p class="notice">{t('firstAccountLink')}</p>}
      {hasLink && (
        <form
          onSubmit={(event) => {
            event.preventDefault();
            making.run();
          }}
        >
          <p>{t('firstAccountHint')}</p>
          <Field label={t('name')} value={name} onValue={setName} autocomplete="username" autofocus required />
          <Field label={t('password')} hint={t('passwordHint')} type="password" value={password} onValue={setPassword} autocomplete="new-password" minlength={10} required />
          <Problem error={making.error} />
          <button class="main" disabled={making.isBusy}>
            {t('makeAccount')}
          </button>
        </form>
      )}
    </section>
  );
}
