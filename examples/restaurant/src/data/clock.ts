// The back end's time, because a tablet's own is often wrong, and a tick for
// everything on a page that counts seconds.

import { useEffect, useState } from 'react';

let ahead = 0;

/** `time` is what the back end's clock showed between `asked` and now. */
export function setServerTime(time: number, asked: number): void {
  ahead = time - (asked + Date.now()) / 2;
}

export function serverNow(): number {
  return Date.now() + ahead;
}

/** The back end's time, once a second. */
export function useNow(): number {
  const [now, setNow] = useState(serverNow);
  useEffect(() => {
    const timer = setInterval(() => setNow(serverNow()), 1_000);
    return () => clearInterval(timer);
  }, []);
  return now;
}

/** `4:07`, `1:02:15`. */
export function duration(milliseconds: number): string {
  const seconds = Math.max(0, Math.floor(milliseconds / 1_000));
  const parts = [Math.floor(seconds / 3_600), Math.floor(seconds / 60) % 60, seconds % 60];
  const shown = parts[0] ? parts : parts.slice(1);
  return shown.map((part, index) => (index === 0 ? String(part) : String(part).padStart(2, '0'))).join(':');
}

/** `19:42` on the device's clock. */
export function timeOfDay(time: number): string {
  return new Date(time).toLocaleTimeString([], { hour: '2-digit', minute: '2-digit', hourCycle: 'h23' });
}
