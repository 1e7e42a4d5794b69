// Events of the restaurant through the official Pusher SDK: which events there
// are, on which channels each goes, and what it carries.
//
// Written for Strapi: in a Strapi project this file is `src/utils/pusher.ts`, and
// lifecycles import it. Without credentials it does nothing.

import Pusher from 'pusher';

export const CHANNELS = {
  ORDERS: 'orders',
  KITCHEN: 'kitchen',
  INVENTORY: 'inventory',
  TABLES: 'tables',
  ALERTS: 'alerts',
  table: (number) => `table-${number}`,
  station: (station) => `station-${station}`,
  order: (documentId) => `order-${documentId}`,
};

export const PUSHER_EVENTS = {
  ORDER_CREATED: 'order.created',
  ORDER_UPDATED: 'order.updated',
  ORDER_CANCELLED: 'order.cancelled',
  ITEM_STATUS_CHANGED: 'item.status_changed',
  TICKET_CREATED: 'ticket.created',
  TICKET_STATUS_CHANGED: 'ticket.status_changed',
  STORAGE_LOW_STOCK: 'storage.low_stock',
  STORAGE_BATCH_RECEIVED: 'storage.batch_received',
  TABLE_STATUS_CHANGED: 'table.status_changed',
  TIMER_SLA_WARNING: 'timer.sla_warning',
  TIMER_SLA_BREACH: 'timer.sla_breach',
};

/** Channels that one call names; the API would take 100. */
const CHANNELS_PER_TRIGGER = 10;

/** Events that wait for an API which answers slowly. Displays read what they missed. */
const MAX_WAITING = 1_000;

/** Longer than a busy server needs, shorter than a cook waits. */
const TIMEOUT_MS = 5_000;

const { PUSHER_APP_ID, PUSHER_KEY, PUSHER_SECRET, PUSHER_CLUSTER, PUSHER_HOST, PUSHER_PORT, PUSHER_SCHEME } = process.env;

const pusher = isPusherEnabled() ? new Pusher(options()) : null;
if (!pusher) {
  console.log('Pusher is not configured: no events are sent');
}

/** Whether there are credentials to send events with. */
export function isPusherEnabled() {
  return Boolean(PUSHER_APP_ID && PUSHER_KEY && PUSHER_SECRET);
}

function options() {
  const credentials = { appId: PUSHER_APP_ID, key: PUSHER_KEY, secret: PUSHER_SECRET, timeout: TIMEOUT_MS };
  if (!PUSHER_HOST) {
    return { ...credentials, cluster: PUSHER_CLUSTER || 'eu', useTLS: true };
  }
  // The one difference from hosted Pusher.
  return { ...credentials, host: PUSHER_HOST, port: PUSHER_PORT, useTLS: PUSHER_SCHEME === 'https' };
}

let waiting = 0;
let last = Promise.resolve();

/**
 * Sends one event to up to ten channels, after those that were sent before.
 *
 * Resolves with whether Pusher took it and never rejects: an order that is in the
 * database must not fail because a display cannot be told. Displays read what
 * they missed when they are connected again.
 */
export function trigger(channels, event, data) {
  if (!pusher) {
    return Promise.resolve(false);
  }
  if (waiting >= MAX_WAITING) {
    console.error(`Pusher: ${event} dropped, ${waiting} events wait`);
    return Promise.resolve(false);
  }
  waiting += 1;
  const serverTimestamp = data.serverTimestamp ?? Date.now();
  const message = { ...data, timestamp: new Date(serverTimestamp).toISOString(), serverTimestamp };
  // One after the other: events of one ticket must not overtake each other.
  last = last.then(async () => {
    try {
      await pusher.trigger(channels, event, message);
      return true;
    } catch (error) {
      console.error(`Pusher: ${event} not sent: ${error.status ?? error.error?.message ?? error.message}`);
      return false;
    } finally {
      waiting -= 1;
    }
  });
  return last;
}

/** Sends one event to any number of channels. */
export async function broadcast(channels, event, data) {
  const sent = [];
  for (let first = 0; first < channels.length; first += CHANNELS_PER_TRIGGER) {
    sent.push(trigger(channels.slice(first, first + CHANNELS_PER_TRIGGER), event, data));
  }
  return (await Promise.all(sent)).every(Boolean);
}

// One function per event.

export function emitOrderCreated(order) {
  return trigger([CHANNELS.ORDERS, ...ofTable(order)], PUSHER_EVENTS.ORDER_CREATED, {
    ...orderFacts(order),
    totalAmount: order.totalAmount,
    itemCount: order.itemCount,
  });
}

export function emitOrderUpdated(order, previousStatus) {
  const channels = [CHANNELS.ORDERS, CHANNELS.order(order.documentId), ...ofTable(order)];
  return trigger(channels, PUSHER_EVENTS.ORDER_UPDATED, { ...orderFacts(order), previousStatus });
}

export function emitOrderCancelled(order, reason) {
  const channels = [CHANNELS.ORDERS, CHANNELS.KITCHEN, ...ofTable(order)];
  return trigger(channels, PUSHER_EVENTS.ORDER_CANCELLED, { ...orderFacts(order), reason });
}

export function emitTicketCreated(ticket) {
  return trigger(ofTicket(ticket), PUSHER_EVENTS.TICKET_CREATED, {
    ticketDocumentId: ticket.documentId,
    ticketNumber: ticket.ticketNumber,
    station: ticket.station,
    priority: ticket.priority,
    orderNumber: ticket.order?.orderNumber,
    tableNumber: ticket.order?.tableNumber ?? undefined,
    menuItemName: ticket.menuItemName,
    serverTimestamp: ticket.version,
  });
}

export function emitTicketStatusChanged(ticket, previousStatus) {
  return trigger(ofTicket(ticket), PUSHER_EVENTS.TICKET_STATUS_CHANGED, {
    ticketDocumentId: ticket.documentId,
    ticketNumber: ticket.ticketNumber,
    station: ticket.station,
    previousStatus,
    newStatus: ticket.status,
    tableNumber: ticket.order?.tableNumber ?? undefined,
    elapsedSeconds: Math.max(0, Math.round((Date.now() - Date.parse(ticket.createdAt)) / 1_000)),
    serverTimestamp: ticket.version,
  });
}

export function emitItemStatusChanged(ticket, previousStatus) {
  return trigger([CHANNELS.ORDERS, ...ofTable(ticket.order)], PUSHER_EVENTS.ITEM_STATUS_CHANGED, {
    ticketDocumentId: ticket.documentId,
    orderDocumentId: ticket.order?.documentId,
    orderNumber: ticket.order?.orderNumber,
    tableNumber: ticket.order?.tableNumber ?? undefined,
    menuItemName: ticket.menuItemName,
    previousStatus,
    newStatus: ticket.status,
    serverTimestamp: ticket.version,
  });
}

export function emitLowStock(ingredient) {
  return trigger([CHANNELS.INVENTORY, CHANNELS.ALERTS], PUSHER_EVENTS.STORAGE_LOW_STOCK, {
    ingredientDocumentId: ingredient.documentId,
    ingredientName: ingredient.name,
    currentStock: ingredient.currentStock,
    minStock: ingredient.minStock,
    unit: ingredient.unit,
    severity: severityOf(ingredient),
    serverTimestamp: ingredient.version,
  });
}

export function emitBatchReceived(batch) {
  return trigger(CHANNELS.INVENTORY, PUSHER_EVENTS.STORAGE_BATCH_RECEIVED, {
    batchDocumentId: batch.documentId,
    ingredientName: batch.ingredient?.name,
    quantity: batch.quantity,
    unit: batch.ingredient?.unit,
    supplierName: batch.supplierName ?? undefined,
    serverTimestamp: batch.version,
  });
}

export function emitTableStatusChanged(table, previousStatus) {
  return trigger([CHANNELS.TABLES, CHANNELS.table(table.number)], PUSHER_EVENTS.TABLE_STATUS_CHANGED, {
    tableNumber: table.number,
    previousStatus,
    newStatus: table.status,
    serverTimestamp: table.version,
  });
}

export function emitSLA(event, ticket, message, severity) {
  return trigger([CHANNELS.ALERTS, CHANNELS.KITCHEN], event, {
    type: 'ticket',
    resourceId: ticket.documentId,
    message,
    severity,
    serverTimestamp: ticket.version,
  });
}

/** `none` while there is enough, `critical` below a third of what should be there. */
export function severityOf({ currentStock, minStock }) {
  if (currentStock >= minStock) {
    return 'none';
  }
  return currentStock <= minStock / 3 ? 'critical' : 'warning';
}

function orderFacts(order) {
  return {
    orderDocumentId: order.documentId,
    orderNumber: order.orderNumber,
    tableNumber: order.tableNumber ?? undefined,
    status: order.status,
    serverTimestamp: order.version,
  };
}

function ofTable(order) {
  return order?.tableNumber ? [CHANNELS.table(order.tableNumber)] : [];
}

function ofTicket(ticket) {
  const ofStation = ticket.station ? [CHANNELS.station(ticket.station)] : [];
  return [CHANNELS.KITCHEN, ...ofStation, ...ofTable(ticket.order)];
}
