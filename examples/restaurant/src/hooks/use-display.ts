// What a screen on a wall needs: to stay on, to fill the screen, to be dark.

import { useEffect, useState } from 'react';

/** Keeps the screen on while the page is visible. Needs HTTPS or localhost. */
export function useWakeLock(): void {
  useEffect(() => {
    let lock: WakeLockSentinel | undefined;
    let isOver = false;
    const keep = async () => {
      if (document.visibilityState !== 'visible' || !('wakeLock' in navigator)) {
        return;
      }
      try {
        lock = await navigator.wakeLock.request('screen');
        if (isOver) {
          await lock.release();
        }
      } catch {
        // A flat battery refuses it, and the display goes on without.
      }
    };
    // The browser takes the lock away from a page that is hidden.
    document.addEventListener('visibilitychange', keep);
    void keep();
    return () => {
      isOver = true;
      document.removeEventListener('visibilitychange', keep);
      void lock?.release();
    };
  }, []);
}

export function useFullScreen(): { isFull: boolean; toggle: () => void } {
  const [isFull, setIsFull] = useState(document.fullscreenElement !== null);
  useEffect(() => {
    const look = () => setIsFull(document.fullscreenElement !== null);
    document.addEventListener('fullscreenchange', look);
    return () => document.removeEventListener('fullscreenchange', look);
  }, []);
  const toggle = () => {
    void (isFull ? document.exitFullscreen() : document.documentElement.requestFullscreen());
  };
  return { isFull, toggle };
}

export type Theme = 'auto' | 'light' | 'dark';

export function useTheme(): { isDark: boolean; toggle: () => void } {
  const wishes = () => matchMedia('(prefers-color-scheme: dark)').matches;
  const [isDark, setIsDark] = useState(() => {
    const { theme } = document.documentElement.dataset;
    return theme === 'auto' ? wishes() : theme === 'dark';
  });
  const toggle = () => {
    const theme = isDark ? 'light' : 'dark';
    localStorage.theme = theme;
    document.documentElement.dataset.theme = theme;
    setIsDark(!isDark);
  };
  return { isDark, toggle };
}

/** A setting of this device. */
export function useSetting(name: string, initial: string): [string, (value: string) => void] {
  const [value, setValue] = useState(() => localStorage.getItem(name) ?? initial);
  const set = (next: string) => {
    localStorage.setItem(name, next);
    setValue(next);
  };
  return [value, set];
}
