// The restaurant for components.

import { createContext, use, useEffect, useState, useSyncExternalStore } from 'react';

import { useIsConnected } from '../hooks/use-pusher';
import type { Restaurant, View } from './restaurant';

export const RestaurantContext = createContext<Restaurant | null>(null);

/** A first connection takes a moment; that is not yet an outage. */
const CONNECTING_MS = 4_000;

export function useRestaurant(): Restaurant {
  const restaurant = use(RestaurantContext);
  if (!restaurant) {
    throw new Error('a RestaurantContext is missing');
  }
  return restaurant;
}

export function useView(): View {
  const restaurant = useRestaurant();
  return useSyncExternalStore(restaurant.listen, restaurant.view);
}

export interface Link {
  state: 'live' | 'connecting' | 'offline';
  /** Since when something may be missing. */
  since: number;
}

/** Whether what a page shows is what is. */
export function useLink(): Link {
  const isConnected = useIsConnected();
  const { isReachable, knownAt } = useView();
  const isLive = isConnected && isReachable && knownAt > 0;
  const [wasLive, setWasLive] = useState(false);
  const [since, setSince] = useState(() => knownAt || Date.now());
  const [isPatient, setIsPatient] = useState(true);
  if (isLive && !wasLive) {
    setWasLive(true);
  }
  useEffect(() => {
    if (!isLive) {
      const timer = setTimeout(() => setIsPatient(false), CONNECTING_MS);
      return () => clearTimeout(timer);
    }
    // The moment at which it ends is the one that people want to know.
    return () => setSince(Date.now());
  }, [isLive]);
  if (isLive) {
    return { state: 'live', since };
  }
  return { state: isPatient && !wasLive ? 'connecting' : 'offline', since };
}
