// What components hear of the restaurant.
//
// `useKitchenEvents`, `useTableEvents` and `useStorageEvents` subscribe while the
// component is shown and call what is given for each event. They return whether
// events arrive at all.

import { createContext, use, useEffect, useRef, useSyncExternalStore } from 'react';

import type { Connection } from '../lib/connection';
import {
  type BatchReceived,
  CHANNELS,
  EVENTS,
  type ItemStatusChanged,
  type LowStock,
  type OrderCancelled,
  type OrderCreated,
  type OrderUpdated,
  type SlaAlert,
  type TableStatusChanged,
  type TicketCreated,
  type TicketStatusChanged,
} from '../lib/websocket-events';

export const ConnectionContext = createContext<Connection | null>(null);

export interface Connected {
  isConnected: boolean;
}

export interface KitchenEvents {
  onTicketCreated?: (ticket: TicketCreated) => void;
  onTicketStatusChanged?: (ticket: TicketStatusChanged) => void;
  onOrderCancelled?: (order: OrderCancelled) => void;
  onSlaWarning?: (alert: SlaAlert) => void;
  onSlaBreach?: (alert: SlaAlert) => void;
}

export interface TableEvents {
  onOrderCreated?: (order: OrderCreated) => void;
  onOrderUpdated?: (order: OrderUpdated) => void;
  onOrderCancelled?: (order: OrderCancelled) => void;
  onItemStatusChanged?: (item: ItemStatusChanged) => void;
  onTicketCreated?: (ticket: TicketCreated) => void;
  onTicketStatusChanged?: (ticket: TicketStatusChanged) => void;
  onTableStatusChanged?: (table: TableStatusChanged) => void;
}

export interface StorageEvents {
  onLowStock?: (stock: LowStock) => void;
  onBatchReceived?: (batch: BatchReceived) => void;
}

/** All tickets of the kitchen. */
export function useKitchenEvents(events: KitchenEvents): Connected {
  return useChannel(CHANNELS.KITCHEN, {
    [EVENTS.TICKET_CREATED]: events.onTicketCreated,
    [EVENTS.TICKET_STATUS_CHANGED]: events.onTicketStatusChanged,
    [EVENTS.ORDER_CANCELLED]: events.onOrderCancelled,
    [EVENTS.TIMER_SLA_WARNING]: events.onSlaWarning,
    [EVENTS.TIMER_SLA_BREACH]: events.onSlaBreach,
  });
}

/** What concerns one table. */
export function useTableEvents(tableNumber: number, events: TableEvents): Connected {
  return useChannel(CHANNELS.table(tableNumber), {
    [EVENTS.ORDER_CREATED]: events.onOrderCreated,
    [EVENTS.ORDER_UPDATED]: events.onOrderUpdated,
    [EVENTS.ORDER_CANCELLED]: events.onOrderCancelled,
    [EVENTS.ITEM_STATUS_CHANGED]: events.onItemStatusChanged,
    [EVENTS.TICKET_CREATED]: events.onTicketCreated,
    [EVENTS.TICKET_STATUS_CHANGED]: events.onTicketStatusChanged,
    [EVENTS.TABLE_STATUS_CHANGED]: events.onTableStatusChanged,
  });
}

/** What the storeroom runs out of and gets. */
export function useStorageEvents(events: StorageEvents): Connected {
  return useChannel(CHANNELS.INVENTORY, {
    [EVENTS.STORAGE_LOW_STOCK]: events.onLowStock,
    [EVENTS.STORAGE_BATCH_RECEIVED]: events.onBatchReceived,
  });
}

type Listeners = Partial<Record<string, ((data: never) => void) | undefined>>;

/** Any channel, any events. */
export function useChannel(channel: string, listeners: Listeners): Connected {
  const connection = useConnection();
  // The latest functions, without a subscription for each rendering.
  const latest = useRef(listeners);
  useEffect(() => {
    latest.current = listeners;
  });
  useEffect(() => {
    const unsubscribe = connection.subscribe(channel);
    const deafen = connection.onEvent((from, event, data) => {
      if (from === channel) {
        latest.current[event]?.(data as never);
      }
    });
    return () => {
      deafen();
      unsubscribe();
    };
  }, [connection, channel]);
  return { isConnected: useIsConnected() };
}

/** Whether events arrive. */
export function useIsConnected(): boolean {
  const connection = useConnection();
  return useSyncExternalStore(
    (listener) => connection.onState(listener),
    () => connection.isConnected,
  );
}

function useConnection(): Connection {
  const connection = use(ConnectionContext);
  if (!connection) {
    throw new Error('hooks need a ConnectionContext');
  }
  return connection;
}
