// For guests: which numbers are being prepared and which can be fetched.

import { useRestaurant, useView } from '../data/use-restaurant';
import { useChannel } from '../hooks/use-pusher';
import { useWakeLock } from '../hooks/use-display';
import { CHANNELS, EVENTS } from '../lib/websocket-events';
import { Frame, Nothing } from '../parts/frame';

/** A board is read from afar; what does not fit is still being prepared or forgotten. */
const MAX_SHOWN = 40;

export function Board() {
  const restaurant = useRestaurant();
  const { orders } = useView();
  useWakeLock();
  useChannel(CHANNELS.ORDERS, {
    [EVENTS.ORDER_CREATED]: restaurant.orderCreated,
    [EVENTS.ORDER_UPDATED]: restaurant.orderUpdated,
    [EVENTS.ORDER_CANCELLED]: restaurant.orderCancelled,
  });
  const ready = orders.filter(({ status }) => status === 'ready').slice(-MAX_SHOWN);
  const preparing = orders.filter(({ status }) => status === 'new' || status === 'preparing').slice(-MAX_SHOWN);
  return (
    <Frame title="Your order">
      <main className="board">
        {ready.length + preparing.length === 0 ? (
          <Nothing title="Welcome">Numbers appear here as soon as something is ordered.</Nothing>
        ) : (
          <>
            <Numbers title="Ready" kind="ready" numbers={ready.map(({ orderNumber }) => orderNumber)} none="Soon" />
            <Numbers title="In preparation" kind="preparing" numbers={preparing.map(({ orderNumber }) => orderNumber)} none="Nothing waits" />
          </>
        )}
      </main>
    </Frame>
  );
}

function Numbers({ title, kind, numbers, none }: { title: string; kind: string; numbers: number[]; none: string }) {
  return (
    <section data-kind={kind} aria-label={title}>
      <h2>{title}</h2>
      {numbers.length === 0 && <p className="none">{none}</p>}
      <ol>
        {numbers.map((number) => (
          <li key={number}>{number}</li>
        ))}
      </ol>
    </section>
  );
}
