// A chart over time, by uPlot. The table of the same numbers is the CSV.

import { useEffect, useRef } from 'preact/hooks';
import uPlot from 'uplot';
import 'uplot/dist/uPlot.min.css';

import { locale, number } from '../words';

export interface Series {
  label: string;
  values: number[];
}

const COLOURS = ['--line-1', '--line-2', '--line-3', '--line-4'];
const HEIGHT = 200;

export function Chart({ title, times, series }: { title: string; times: number[]; series: Series[] }) {
  const place = useRef<HTMLDivElement>(null);
  const chart = useRef<uPlot | null>(null);
  const scheme = useColours();

  useEffect(() => {
    const host = place.current!;
    const style = getComputedStyle(host);
    const colour = (name: string) => style.getPropertyValue(name).trim() || 'gray';
    const axis = { stroke: colour('--plot-ink'), grid: { stroke: colour('--plot-grid'), width: 1 }, ticks: { show: false } };
    const customs = locale();
    const time = new Intl.DateTimeFormat(customs, { dateStyle: 'short', timeStyle: 'short' });
    const drawn = new uPlot(
      {
        width: Math.max(host.clientWidth, 100),
        height: HEIGHT,
        scales: { y: { range: (_, __, max) => [0, Math.max(max * 1.1, 1)] } },
        cursor: { y: false },
        axes: [
          { ...axis, size: 32, values: (_, splits) => labels(splits, customs) },
          { ...axis, size: 56, values: (_, splits) => splits.map((value) => short(value, customs)) },
        ],
        series: [
          { value: (_, value) => (value === null ? '' : time.format(value * 1000)) },
          ...series.map(({ label }, index) => ({
            label,
            stroke: colour(COLOURS[index % COLOURS.length]!),
            width: 2,
            points: { show: times.length < 3 },
            value: (_: uPlot, value: number | null) => (value === null ? '' : number(value)),
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
  }, [series.map(({ label }) => label).join('|'), scheme, times.length < 3]);

  useEffect(() => {
    chart.current?.setData([times, ...series.map(({ values }) => values)]);
    // Until somebody points elsewhere, the legend tells how it is now.
    chart.current?.setLegend({ idx: times.length - 1 });
  }, [times, series]);

  const last = series.map(({ label, values }) => `${label}: ${number(values.at(-1) ?? 0)}`).join(', ');
  return (
    <figure class="chart">
      <figcaption>{title}</figcaption>
      <div ref={place} role="img" aria-label={`${title}. ${last}`} />
    </figure>
  );
}

/** Changes when the colours of the page do. */
function useColours(): string {
  return `${document.documentElement.dataset.theme}-${matchMedia('(prefers-color-scheme: dark)').matches}`;
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
