// A chart over time, by uPlot. Its legend tells the numbers where somebody points, else
// those of the end; all of them are in the CSV.

import { useEffect, useRef, useState } from 'preact/hooks';
import uPlot from 'uplot';
import 'uplot/dist/uPlot.min.css';

import { locale, number } from '../words';

export interface Series {
  label: string;
  values: number[];
}

const COLOURS = ['--line-1', '--line-2', '--line-3'];
const HEIGHT = 200;

export function Chart({ title, times, series }: { title: string; times: number[]; series: Series[] }) {
  const place = useRef<HTMLDivElement>(null);
  const chart = useRef<uPlot | null>(null);
  const [pointed, setPointed] = useState<number>();
  const scheme = useScheme();

  useEffect(() => {
    const host = place.current!;
    const customs = locale();
    const axis = {
      stroke: colour(host, '--plot-ink'),
      grid: { stroke: colour(host, '--plot-grid'), width: 1 },
      ticks: { show: false },
    };
    const drawn = new uPlot(
      {
        width: Math.max(host.clientWidth, 100),
        height: HEIGHT,
        scales: { y: { range: (_, __, max) => [0, Math.max(max * 1.1, 1)] } },
        legend: { show: false },
        cursor: { y: false },
        hooks: { setCursor: [({ cursor }) => setPointed(cursor.idx ?? undefined)] },
        axes: [
          { ...axis, size: 32, values: (_, splits) => labels(splits, customs) },
          {
            ...axis,
            size: 56,
            // There is no half of what is counted here.
            filter: (_, splits) => splits.map((value) => (Number.isInteger(value) ? value : null)),
            values: (_, splits) => splits.map((value) => (value === null ? '' : short(value, customs))),
          },
        ],
        series: [
          {},
          ...series.map((_, index) => ({
            stroke: colour(host, COLOURS[index % COLOURS.length]!),
            width: 2,
          })),
        ],
      },
      [times, ...series.map(({ values }) => values)],
      host,
    );
    chart.current = drawn;
    const resized = new ResizeObserver(() => drawn.setSize({ width: Math.max(host.clientWidth, 100), height: HEIGHT }));
    resized.observe(host);
    return () => {
      resized.disconnect();
      drawn.destroy();
    };
  }, [series.length, scheme]);

  useEffect(() => {
    chart.current?.setData([times, ...series.map(({ values }) => values)]);
  }, [times, series]);

  const index = Math.min(pointed ?? times.length - 1, times.length - 1);
  const told = series.map(({ label, values }) => `${label}: ${number(values[index] ?? 0)}`);
  const time = new Intl.DateTimeFormat(locale(), { dateStyle: 'short', timeStyle: 'short' }).format((times[index] ?? 0) * 1000);
  return (
    <figure class="chart">
      <figcaption>{title}</figcaption>
      <div ref={place} role="img" aria-label={`${title}. ${told.join(', ')}`} />
      <ul class="legend" aria-hidden="true">
        {told.map((text, position) => (
          <li key={text} class={`line-${position + 1}`}>
            {text}
          </li>
        ))}
        <li class="soft">{time}</li>
      </ul>
    </figure>
  );
}

/** A colour of the page as a canvas understands it. */
function colour(host: HTMLElement, name: string): string {
  host.style.color = `var(${name})`;
  const found = getComputedStyle(host).color;
  host.style.color = '';
  return found;
}

/** Changes when the colours of the page do. */
function useScheme(): string {
  const now = () => `${document.documentElement.dataset.theme}-${matchMedia('(prefers-color-scheme: dark)').matches}`;
  const [scheme, setScheme] = useState(now);
  useEffect(() => {
    const system = matchMedia('(prefers-color-scheme: dark)');
    const changed = () => setScheme(now());
    const chosen = new MutationObserver(changed);
    chosen.observe(document.documentElement, { attributeFilter: ['data-theme'] });
    system.addEventListener('change', changed);
    return () => {
      chosen.disconnect();
      system.removeEventListener('change', changed);
    };
  }, []);
  return scheme;
}

function short(value: number, customs: string): string {
  return new Intl.NumberFormat(customs, { notation: 'compact' }).format(value);
}

function labels(splits: number[], customs: string): string[] {
  const step = (splits[1] ?? 0) - (splits[0] ?? 0);
  const format =
    step >= 86400
      ? new Intl.DateTimeFormat(customs, { day: 'numeric', month: 'numeric' })
      : new Intl.DateTimeFormat(customs, { hour: '2-digit', minute: '2-digit', hour12: false });
  return splits.map((value) => format.format(value * 1000));
}
