// Channels and events of the restaurant, as the back end sends them.

export const CHANNELS = {
  ORDERS: 'orders',
  KITCHEN: 'kitchen',
  INVENTORY: 'inventory',
  TABLES: 'tables',
  ALERTS: 'alerts',
  table: (number: number) => `table-${number}`,
  station: (station: string) => `station-${station}`,
  order: (documentId: string) => `order-${documentId}`,
} as const;

export const EVENTS = {
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
} as const;

export type OrderStatus = 'new' | 'preparing' | 'ready' | 'served' | 'paid' | 'cancelled';
export type TicketStatus = 'new' | 'cooking' | 'ready' | 'served' | 'cancelled';
export type TableStatus = 'free' | 'occupied';
export type Severity = 'warning' | 'critical';

/** What every event carries. */
export interface EventBase {
  /** ISO 8601. */
  timestamp: string;
  /** The same in milliseconds; for documents also their version. */
  serverTimestamp: number;
}

export interface OrderEvent extends EventBase {
  orderDocumentId: string;
  orderNumber: number;
  tableNumber?: number;
  status: OrderStatus;
}

export interface OrderCreated extends OrderEvent {
  totalAmount?: number;
  itemCount?: number;
}

export interface OrderUpdated extends OrderEvent {
  previousStatus?: OrderStatus;
}

export interface OrderCancelled extends OrderEvent {
  reason?: string;
}

export interface ItemStatusChanged extends EventBase {
  ticketDocumentId: string;
  orderDocumentId: string;
  orderNumber: number;
  tableNumber?: number;
  menuItemName: string;
  previousStatus: TicketStatus;
  newStatus: TicketStatus;
}

export interface TicketCreated extends EventBase {
  ticketDocumentId: string;
  ticketNumber: string;
  station?: string;
  priority?: 'normal' | 'high';
  orderNumber?: number;
  tableNumber?: number;
  menuItemName?: string;
}

export interface TicketStatusChanged extends EventBase {
  ticketDocumentId: string;
  ticketNumber: string;
  station?: string;
  previousStatus: TicketStatus;
  newStatus: TicketStatus;
  tableNumber?: number;
  elapsedSeconds?: number;
}

export interface LowStock extends EventBase {
  ingredientDocumentId: string;
  ingredientName: string;
  currentStock: number;
  minStock: number;
  unit: string;
  severity: Severity;
}

export interface BatchReceived extends EventBase {
  batchDocumentId: string;
  ingredientName: string;
  quantity: number;
  unit: string;
  supplierName?: string;
}

export interface TableStatusChanged extends EventBase {
  tableNumber: number;
  previousStatus: TableStatus;
  newStatus: TableStatus;
}

export interface SlaAlert extends EventBase {
  type: string;
  resourceId: string;
  message: string;
  severity: Severity;
}
