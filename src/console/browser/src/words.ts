// The console in the reader's language. English is the one that all others are held
// against: a language without one of its texts does not compile.

import { en } from './words/en';
import { ru } from './words/ru';
import { uk } from './words/uk';

export type Word = keyof typeof en;
export type Words = Record<Word, string>;

export const LANGUAGES = { en: 'English', ru: 'Русский', uk: 'Українська' } as const;
export type Language = keyof typeof LANGUAGES;

const ALL: Record<Language, Words> = { en, ru, uk };
const KEPT = 'fanfare-language';

function preferred(): Language {
  const kept = localStorage.getItem(KEPT);
  const wanted = [kept ?? '', ...navigator.languages].map((tag) => tag.slice(0, 2));
  return (wanted.find((tag) => tag in ALL) as Language) ?? 'en';
}

let chosen = preferred();
document.documentElement.lang = chosen;

export function language(): Language {
  return chosen;
}

/** With the customs of the reader's country, where the language is theirs. */
export function locale(): string {
  return navigator.languages.find((tag) => tag.startsWith(chosen)) ?? chosen;
}

export function choose(wanted: Language) {
  chosen = wanted;
  localStorage.setItem(KEPT, wanted);
  document.documentElement.lang = wanted;
}

/** A text, with `{name}` filled in. */
export function t(word: Word, values: Record<string, string | number> = {}): string {
  return ALL[chosen][word].replace(/\{(\w+)\}/g, (whole, name) => String(values[name] ?? whole));
}

/** A text whose name is made of data, or the data itself where there is none. */
export function named(prefix: string, name: string): string {
  const word = `${prefix}_${name}`;
  return word in en ? t(word as Word) : name;
}

export function number(value: number): string {
  return new Intl.NumberFormat(locale()).format(value);
}

export function bytes(value: number): string {
  const units = ['byte', 'kilobyte', 'megabyte', 'gigabyte', 'terabyte'];
  let unit = 0;
  let size = value;
  while (size >= 1000 && unit < units.length - 1) {
    size /= 1000;
    unit += 1;
  }
  return new Intl.NumberFormat(locale(), {
    style: 'unit',
    unit: units[unit] ?? 'byte',
    unitDisplay: unit === 0 ? 'long' : 'short',
    maximumFractionDigits: size < 10 && unit > 0 ? 1 : 0,
  }).format(size);
}

export function when(ms: number): string {
  return new Intl.DateTimeFormat(locale(), { dateStyle: 'short', timeStyle: 'medium' }).format(ms);
}

export function clock(ms: number): string {
  return new Intl.DateTimeFormat(locale(), { hour: '2-digit', minute: '2-digit', second: '2-digit', hour12: false }).format(ms);
}

/** A span of time, in its two largest units. */
export function span(seconds: number): string {
  const units = [
    ['day', 86400],
    ['hour', 3600],
    ['minute', 60],
    ['second', 1],
  ] as const;
  let rest = Math.floor(seconds);
  const said: string[] = [];
  for (const [unit, length] of units) {
    const count = Math.floor(rest / length);
    if (count > 0 || (unit === 'second' && said.length === 0)) {
      said.push(new Intl.NumberFormat(locale(), { style: 'unit', unit, unitDisplay: 'narrow' }).format(count));
    }
    rest -= count * length;
    if (said.length === 2) {
      break;
    }
  }
  return said.join(' ');
}
