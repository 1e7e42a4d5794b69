// The menu, which hardly ever changes: that of last time until it has come.

import { useEffect, useState } from 'react';

import { type Menu, api } from './api';
import { load, save } from './keep';

const RETRY_MS = 2_000;

export function useMenu(): Menu | undefined {
  const [menu, setMenu] = useState(() => load<Menu>('menu'));
  useEffect(() => {
    let isOver = false;
    let timer: ReturnType<typeof setTimeout>;
    const read = async () => {
      try {
        const latest = await api.menu();
        if (!isOver) {
          save('menu', latest);
          setMenu(latest);
        }
      } catch {
        if (!isOver) {
          timer = setTimeout(read, RETRY_MS);
        }
      }
    };
    void read();
    return () => {
      isOver = true;
      clearTimeout(timer);
    };
  }, []);
  return menu;
}
