// Small parts that every page is made of.

import type { ComponentChildren } from 'preact';
import { useEffect, useId, useRef, useState } from 'preact/hooks';

import { Refusal } from '../api';
import type { Data } from '../data';
import { t } from '../words';

export function Problem({ error }: { error?: Error }) {
  if (!error) {
    return null;
  }
  const expected = error instanceof Refusal ? error.expected : undefined;
  const isNetwork = error instanceof TypeError;
  return (
    <div class="notice bad" role="alert">
      <strong>{isNetwork ? t('unreachable') : error.message}</strong>
      {expected && (
        <p>
          {t('expected')}: {expected}
        </p>
      )}
    </div>
  );
}

/** What the server was asked for, or why it is not there. */
export function Loaded<T>({ data, children }: { data: Data<T>; children: (value: T) => ComponentChildren }) {
  if (data.value === undefined) {
    return data.error ? (
      <>
        <Problem error={data.error} />
        <p>
          <button onClick={data.reload}>{t('again')}</button>
        </p>
      </>
    ) : (
      <p class="soft" role="status">
        <span class="spinner" aria-hidden="true" /> {t('loading')}
      </p>
    );
  }
  return (
    <>
      {data.error && <Problem error={data.error} />}
      {children(data.value)}
    </>
  );
}

/** Says that some nodes are missing in what is shown, if there are any. */
export function Unanswered({ count }: { count: number }) {
  if (count === 0) {
    return null;
  }
  return (
    <p class="notice soon" role="status">
      {t('unanswered', { count })}
    </p>
  );
}

export function Empty({ children }: { children: ComponentChildren }) {
  return <p class="empty">{children}</p>;
}

export function Page({ title, actions, children }: { title: string; actions?: ComponentChildren; children: ComponentChildren }) {
  useEffect(() => {
    document.title = `${title} · Fanfare`;
  }, [title]);
  return (
    <>
      <header class="page-head">
        <h1>{title}</h1>
        {actions && <div class="actions">{actions}</div>}
      </header>
      {children}
    </>
  );
}

export function Card({ title, actions, children }: { title?: string; actions?: ComponentChildren; children: ComponentChildren }) {
  return (
    <section class="card">
      {(title || actions) && (
        <header class="card-head">
          {title && <h2>{title}</h2>}
          {actions && <div class="actions">{actions}</div>}
        </header>
      )}
      {children}
    </section>
  );
}

/** A table that may be wider than the phone it is read on. One line for each row, if it has short cells only. */
export function Table({ label, head, isTight, children }: { label: string; head: ComponentChildren[]; isTight?: boolean; children: ComponentChildren }) {
  return (
    <div class={isTight ? 'table tight' : 'table'} role="region" aria-label={label} tabIndex={0}>
      <table>
        <thead>
          <tr>
            {head.map((cell, index) => (
              <th key={index} scope="col">
                {cell}
              </th>
            ))}
          </tr>
        </thead>
        <tbody>{children}</tbody>
      </table>
    </div>
  );
}

export function Facts({ facts }: { facts: [string, ComponentChildren][] }) {
  return (
    <dl class="facts">
      {facts
        .filter(([, value]) => value !== undefined && value !== null && value !== '')
        .map(([name, value]) => (
          <div key={name}>
            <dt>{name}</dt>
            <dd>{value}</dd>
          </div>
        ))}
    </dl>
  );
}

export function State({ kind, children }: { kind: 'good' | 'soon' | 'bad' | 'plain'; children: ComponentChildren }) {
  return <span class={`state ${kind}`}>{children}</span>;
}

interface Input {
  label: string;
  hint?: string;
  value: string;
  onValue: (value: string) => void;
  type?: 'text' | 'password' | 'search' | 'number' | 'url';
  autocomplete?: string;
  autofocus?: boolean;
  required?: boolean;
  pattern?: string;
  placeholder?: string;
  min?: number;
  minlength?: number;
}

export function Field({ label, hint, value, onValue, type = 'text', ...rest }: Input) {
  const id = useId();
  return (
    <div class="field">
      <label for={id}>{label}</label>
      <input {...rest} type={type as 'text'} id={id} value={value} aria-describedby={hint && `${id}-hint`} onInput={(event) => onValue(event.currentTarget.value)} />
      {hint && (
        <p class="hint" id={`${id}-hint`}>
          {hint}
        </p>
      )}
    </div>
  );
}

export function Area({ label, hint, value, onValue, rows = 4, isBad }: { label: string; hint?: string; value: string; onValue: (value: string) => void; rows?: number; isBad?: boolean }) {
  const id = useId();
  return (
    <div class="field">
      <label for={id}>{label}</label>
      <textarea
        id={id}
        rows={rows}
        value={value}
        spellcheck={false}
        aria-invalid={isBad}
        aria-describedby={hint && `${id}-hint`}
        onInput={(event) => onValue(event.currentTarget.value)}
      />
      {hint && (
        <p class={`hint ${isBad ? 'is-bad' : ''}`} id={`${id}-hint`}>
          {hint}
        </p>
      )}
    </div>
  );
}

export function Choice<T extends string>({ label, value, options, onValue, isInline }: { label: string; value: T; options: [T, string][]; onValue: (value: T) => void; isInline?: boolean }) {
  const id = useId();
  return (
    <div class={isInline ? 'field inline' : 'field'}>
      <label for={id}>{label}</label>
      <select id={id} value={value} onChange={(event) => onValue(event.currentTarget.value as T)}>
        {options.map(([option, text]) => (
          <option key={option} value={option}>
            {text}
          </option>
        ))}
      </select>
    </div>
  );
}

export function Switch({ label, hint, value, onValue, disabled }: { label: string; hint?: string; value: boolean; onValue: (value: boolean) => void; disabled?: boolean }) {
  const id = useId();
  return (
    <div class="switch">
      <input id={id} type="checkbox" checked={value} disabled={disabled} onChange={(event) => onValue(event.currentTarget.checked)} />
      <label for={id}>
        {label}
        {hint && <span class="hint">{hint}</span>}
      </label>
    </div>
  );
}

export function Copy({ text, label = t('copy') }: { text: string; label?: string }) {
  const [isDone, setDone] = useState(false);
  const copy = async () => {
    await writeToClipboard(text);
    setDone(true);
    setTimeout(() => setDone(false), 1500);
  };
  return (
    <button type="button" class="small" onClick={copy}>
      <span aria-live="polite">{isDone ? t('copied') : label}</span>
    </button>
  );
}

/** Pages without TLS have no clipboard of their own. */
async function writeToClipboard(text: string) {
  if (navigator.clipboard) {
    return navigator.clipboard.writeText(text);
  }
  const area = document.createElement('textarea');
  area.value = text;
  document.body.append(area);
  area.select();
  document.execCommand('copy');
  area.remove();
}

export function Code({ text, label }: { text: string; label: string }) {
  return (
    <div class="code">
      <Copy text={text} />
      <pre tabIndex={0} aria-label={label}>
        {text}
      </pre>
    </div>
  );
}

/** Choices beside each other, one of which is shown. */
export function Tabs<T extends string>({ label, tabs, chosen, onChoose }: { label: string; tabs: [T, string][]; chosen: T; onChoose: (tab: T) => void }) {
  const list = useRef<HTMLDivElement>(null);
  const move = (event: KeyboardEvent) => {
    const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    if (step) {
      const position = tabs.findIndex(([tab]) => tab === chosen);
      const next = (position + step + tabs.length) % tabs.length;
      onChoose(tabs[next]![0]);
      list.current?.querySelectorAll<HTMLButtonElement>('[role=tab]')[next]?.focus();
    }
  };
  return (
    <div class="tabs" role="tablist" aria-label={label} ref={list} onKeyDown={move}>
      {tabs.map(([tab, text]) => (
        <button key={tab} type="button" role="tab" aria-selected={tab === chosen} tabIndex={tab === chosen ? 0 : -1} onClick={() => onChoose(tab)}>
          {text}
        </button>
      ))}
    </div>
  );
}

export function Dialog({ title, onClose, children }: { title: string; onClose: () => void; children: ComponentChildren }) {
  const dialog = useRef<HTMLDialogElement>(null);
  const id = useId();
  useEffect(() => {
    dialog.current?.showModal();
  }, []);
  return (
    <dialog ref={dialog} aria-labelledby={id} onClose={onClose}>
      <header class="card-head">
        <h2 id={id}>{title}</h2>
        <button type="button" class="small" onClick={() => dialog.current?.close()}>
          {t('close')}
        </button>
      </header>
      {children}
    </dialog>
  );
}

/** A change that cannot be taken back: asked for twice, in the same place. */
export function Sure({ label, question, onSure, disabled }: { label: string; question: string; onSure: () => void; disabled?: boolean }) {
  const [isAsking, setAsking] = useState(false);
  if (!isAsking) {
    return (
      <button type="button" class="small danger" disabled={disabled} onClick={() => setAsking(true)}>
        {label}
      </button>
    );
  }
  return (
    <span class="sure" role="group" aria-label={question}>
      <span>{question}</span>
      <button
        type="button"
        class="small danger"
        ref={(button) => button?.focus()}
        onClick={() => {
          setAsking(false);
          onSure();
        }}
      >
        {t('yes')}
      </button>
      <button type="button" class="small" onClick={() => setAsking(false)}>
        {t('no')}
      </button>
    </span>
  );
}

export function download(name: string, type: string, content: string) {
  const anchor = document.createElement('a');
  anchor.href = URL.createObjectURL(new Blob([content], { type }));
  anchor.download = name;
  anchor.click();
  URL.revokeObjectURL(anchor.href);
}

/** JSON as it is read best, or the text itself. */
export function pretty(text: string): string {
  try {
    return JSON.stringify(JSON.parse(text), null, 2);
  } catch {
    return text;
  }
}
