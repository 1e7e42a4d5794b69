// The way to the screens.

import { Icon } from '../parts/icons';
import { Frame } from '../parts/frame';

const SCREENS = [
  { path: '/kitchen', icon: 'pan', name: 'Kitchen', about: 'Tickets by station, with timers' },
  { path: '/waiter', icon: 'plate', name: 'Tables', about: 'Take orders, serve, close bills' },
  { path: '/stock', icon: 'box', name: 'Stock', about: 'What runs low, what came in' },
  { path: '/board', icon: 'list', name: 'Order board', about: 'Numbers for guests who wait' },
] as const;

export function Home() {
  return (
    <Frame title="Restaurant">
      <main className="home">
        {SCREENS.map(({ path, icon, name, about }) => (
          <a key={path} href={path}>
            <Icon name={icon} />
            <strong>{name}</strong>
            <span>{about}</span>
          </a>
        ))}
      </main>
    </Frame>
  );
}
