// The back end's HTTP API.

import type { OrderStatus, TableStatus, TicketStatus } from '../lib/websocket-events';

/** `version` grows with every change, over all documents. */
interface Document {
  documentId: string;
  version: number;
}

export interface Order extends Document {
  createdAt: string;
  orderNumber: number;
  tableNumber: number | null;
  status: OrderStatus;
  totalAmount: number;
  itemCount: number;
  cancelReason: string | null;
}

export interface Ticket extends Document {
  createdAt: string;
  ticketNumber: string;
  orderDocumentId: string;
  orderNumber: number;
  tableNumber: number | null;
  station: string;
  priority: 'normal' | 'high';
  status: TicketStatus;
  menuItemName: string;
  /** 0 until the details have come that an event does not carry. */
  quantity: number;
  note: string | null;
  slaSeconds: number;
  startedAt: string | null;
  readyAt: string | null;
  servedAt: string | null;
}

export interface Ingredient extends Document {
  name: string;
  currentStock: number;
  minStock: number;
  unit: string;
}

export interface Table extends Document {
  number: number;
  seats: number;
  status: TableStatus;
}

export interface Changes {
  origin: string;
  version: number;
  isSnapshot: boolean;
  serverTime: number;
  orders: Order[];
  tickets: Ticket[];
  ingredients: Ingredient[];
  tables: Table[];
}

export interface MenuItem {
  id: string;
  name: string;
  price: number;
  station: string;
}

export interface Menu {
  stations: { id: string; name: string }[];
  items: MenuItem[];
}

export interface NewOrder {
  requestId: string;
  tableNumber: number | null;
  priority: 'normal' | 'high';
  items: { menuItem: string; quantity: number; note: string }[];
}

/** The back end has answered with a no; trying again would not help. */
export class Refused extends Error {}

const PATIENCE_MS = 8_000;

/** Rejects with `Refused` for a no, and with anything else when nobody answered. */
async function ask<T>(method: string, path: string, body?: unknown): Promise<T> {
  const answer = await fetch(path, {
    method,
    signal: AbortSignal.timeout(PATIENCE_MS),
    ...(body !== undefined && { body: JSON.stringify(body), headers: { 'content-type': 'application/json' } }),
  });
  if (answer.ok) {
    return (await answer.json()) as T;
  }
  const reason = await answer.json().then((problem: { error?: string }) => problem.error, () => undefined);
  if (answer.status >= 400 && answer.status < 500) {
    throw new Refused(reason ?? `refused with ${answer.status}`);
  }
  throw new Error(reason ?? `failed with ${answer.status}`);
}

export const api = {
  settings: <T>() => ask<T>('GET', '/settings.json'),
  menu: () => ask<Menu>('GET', '/api/menu'),
  changes: (origin: string, since: number) => ask<Changes>('GET', `/api/changes?origin=${origin}&since=${since}`),
  placeOrder: (order: NewOrder) => ask<Order>('POST', '/api/orders', order),
  cancelOrder: (documentId: string, reason: string) => ask<Order>('POST', `/api/orders/${documentId}/cancel`, { reason }),
  moveTicket: (documentId: string, status: TicketStatus) => ask<Ticket>('PUT', `/api/tickets/${documentId}`, { status }),
  payTable: (number: number) => ask<Table>('POST', `/api/tables/${number}/pay`, {}),
  receiveBatch: (ingredientDocumentId: string, quantity: number) =>
    ask<unknown>('POST', '/api/batches', { ingredientDocumentId, quantity }),
};
