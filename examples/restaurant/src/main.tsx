// Loads the settings, connects, and shows the page of the address.

import { StrictMode } from 'react';
import { createRoot } from 'react-dom/client';

import { api } from './data/api';
import { load, save } from './data/keep';
import { Restaurant } from './data/restaurant';
import { RestaurantContext } from './data/use-restaurant';
import { ConnectionContext } from './hooks/use-pusher';
import type { Settings } from './lib/connection';
import { connect } from './lib/realtime';
import { Board } from './pages/board';
import { Home } from './pages/home';
import { Kitchen } from './pages/kitchen';
import { Stock } from './pages/stock';
import { Waiter } from './pages/waiter';
import { Toasts } from './parts/toasts';

import './styles.css';

const PAGES: Record<string, { title: string; Page: () => React.ReactNode }> = {
  '/': { title: 'Restaurant', Page: Home },
  '/kitchen': { title: 'Kitchen', Page: Kitchen },
  '/waiter': { title: 'Tables', Page: Waiter },
  '/stock': { title: 'Stock', Page: Stock },
  '/board': { title: 'Orders', Page: Board },
};

const RETRY_MS = 2_000;

const { title, Page } = PAGES[location.pathname.replace(/(.)\/$/, '$1')] ?? PAGES['/']!;
document.title = title;
const root = createRoot(document.querySelector('#root')!);

if ('serviceWorker' in navigator && import.meta.env.PROD) {
  // Keeps the page itself on the device, for a reload without network.
  void navigator.serviceWorker.register('/worker.js');
}

const settings = await readSettings();
const connection = connect(settings);
const restaurant = new Restaurant();
connection.onSubscribed(restaurant.catchUp);

root.render(
  <StrictMode>
    <ConnectionContext value={connection}>
      <RestaurantContext value={restaurant}>
        <Toasts>
          <Page />
        </Toasts>
      </RestaurantContext>
    </ConnectionContext>
  </StrictMode>,
);

/** The back end's settings, or those of last time while it does not answer. */
async function readSettings(): Promise<Settings> {
  for (;;) {
    try {
      const settings = await api.settings<Settings>();
      save('settings', settings);
      return settings;
    } catch {
      const known = load<Settings>('settings');
      if (known) {
        return known;
      }
      root.render(
        <main className="notice" role="alert">
          <h1>Nobody answers</h1>
          <p>This device cannot reach the restaurant's computer. It goes on trying; look at the Wi-Fi meanwhile.</p>
        </main>,
      );
      await new Promise((resolve) => setTimeout(resolve, RETRY_MS));
    }
  }
}
