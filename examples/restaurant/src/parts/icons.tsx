// Icons, drawn on 24 by 24.

const PATHS = {
  home: 'M4 11 12 4l8 7v9h-5v-6H9v6H4z',
  sound: 'M4 9v6h4l5 4V5L8 9zM16.5 8.5a5 5 0 0 1 0 7M19 6a8.5 8.5 0 0 1 0 12',
  silence: 'M4 9v6h4l5 4V5L8 9zM17 9.5l5 5m0-5-5 5',
  grow: 'M4 9V4h5M15 4h5v5M20 15v5h-5M9 20H4v-5',
  shrink: 'M9 4v5H4M20 9h-5V4M15 20v-5h5M4 15h5v5',
  sun: 'M12 8a4 4 0 1 0 0 8 4 4 0 0 0 0-8zM12 2v3m0 14v3M2 12h3m14 0h3M5 5l2 2m10 10 2 2M19 5l-2 2M7 17l-2 2',
  moon: 'M20 14.5A8.5 8.5 0 0 1 9.5 4 8.5 8.5 0 1 0 20 14.5z',
  pan: 'M3 11h12a6 6 0 0 1-12 0zM15 12l7-3M6 7c0-2 1.500-2 1.500-4M11 7c0-2 1.500-2 1.500-4',
  plate: 'M3 15a9 9 0 0 1 18 0zM2 18h20M12 6V4',
  box: 'M4 8l8-4 8 4v8l-8 4-8-4zM4 8l8 4 8-4M12 12v8',
  list: 'M4 6h16M4 12h16M4 18h10',
  bolt: 'M13 3 5 14h6l-1 7 8-11h-6z',
  check: 'M5 12.500 10 17.500 19.500 7',
  back: 'M14 5l-7 7 7 7',
  alert: 'M12 4 2.500 20h19zM12 10v5m0 2v.5',
} as const;

export function Icon({ name }: { name: keyof typeof PATHS }) {
  return (
    <svg className="icon" viewBox="0 0 24 24" aria-hidden="true">
      <path d={PATHS[name]} />
    </svg>
  );
}
