// What this page knows of the restaurant, and how it stays right.
//
// Events change it at once. What events do not say or did not bring is read from
// the back end: after each subscription, after an event about something unknown,
// and every now and then. Every document has a version, so it does not matter in
// which order, or how often, anything arrives: the latest holds, and an id is one
// ticket.

import type {
  LowStock,
  OrderCancelled,
  OrderCreated,
  OrderUpdated,
  TableStatusChanged,
  TicketCreated,
  TicketStatus,
  TicketStatusChanged,
} from '../lib/websocket-events';
import { type Changes, type Ingredient, type Order, type Table, type Ticket, Refused, api } from './api';
import { serverNow, setServerTime } from './clock';
import { load, save } from './keep';

/** A look at the back end although nothing seems to be missing. */
const LOOK_EVERY_MS = 30_000;

/** Time until an attempt to reach the back end is repeated. */
const RETRY_MS = 2_000;

/** Changes are shown together after this time, so that a rush does not repaint for each. */
const SHOW_AFTER_MS = 40;

/** Done work is forgotten after this time: a shift is long and memory is not. */
const FORGET_AFTER_MS = 15 * 60_000;

/** What is kept on the device for a reload without network. */
const KEEP_EVERY_MS = 3_000;

const DONE: readonly string[] = ['served', 'cancelled'];
const CLOSED: readonly string[] = ['paid', 'cancelled'];

/** What pages show; a new object after each change. */
export interface View {
  orders: Order[];
  tickets: Ticket[];
  ingredients: Ingredient[];
  tables: Table[];
  /** When it was last known to be complete; 0: nothing is known yet. */
  knownAt: number;
  /** Whether the back end answered last time. */
  isReachable: boolean;
  /** Changes of this device that the back end has not heard of yet. */
  unsent: number;
}

interface Documents {
  orders: Map<string, Order>;
  tickets: Map<string, Ticket>;
  ingredients: Map<string, Ingredient>;
  tables: Map<string, Table>;
}

interface Kept {
  origin: string;
  version: number;
  knownAt: number;
  documents: Omit<Changes, 'origin' | 'version' | 'isSnapshot' | 'serverTime'>;
  moves: [string, TicketStatus][];
}

export class Restaurant {
  #documents: Documents = { orders: new Map(), tickets: new Map(), ingredients: new Map(), tables: new Map() };
  /** What this device did with tickets and the back end does not know yet. */
  #moves = new Map<string, TicketStatus>();
  #origin = '';
  #version = 0;
  #knownAt = 0;
  #isReachable = true;
  #view: View;
  #listeners = new Set<() => void>();
  #showTimer: ReturnType<typeof setTimeout> | undefined;
  #keepTimer: ReturnType<typeof setTimeout> | undefined;
  #reading: Promise<void> | undefined;
  #readAgain = false;
  #retryTimer: ReturnType<typeof setTimeout> | undefined;
  #isSending = false;
  /** Called with what the back end refused, in words for the person at the screen. */
  onRefusal: (reason: string) => void = () => {};

  constructor() {
    this.#restore();
    this.#view = this.#look();
    setInterval(() => this.catchUp(), LOOK_EVERY_MS);
    setInterval(() => this.#forget(), 60_000);
    addEventListener('online', () => this.catchUp());
    addEventListener('pagehide', () => this.#keep());
    this.catchUp();
  }

  // For React.

  readonly listen = (listener: () => void): (() => void) => {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  };

  readonly view = (): View => this.#view;

  // What events say.

  readonly ticketCreated = (event: TicketCreated): void => {
    if (this.#documents.tickets.has(event.ticketDocumentId)) {
      return;
    }
    this.#documents.tickets.set(event.ticketDocumentId, {
      documentId: event.ticketDocumentId,
      // Older than what the back end will tell in full.
      version: event.serverTimestamp - 1,
      createdAt: event.timestamp,
      ticketNumber: event.ticketNumber,
      orderDocumentId: '',
      orderNumber: event.orderNumber ?? 0,
      tableNumber: event.tableNumber ?? null,
      station: event.station ?? '',
      priority: event.priority ?? 'normal',
      status: 'new',
      menuItemName: event.menuItemName ?? '',
      quantity: 0,
      note: null,
      slaSeconds: 600,
      startedAt: null,
      readyAt: null,
      servedAt: null,
    });
    this.#changed();
    this.catchUp();
  };

  readonly ticketStatusChanged = (event: TicketStatusChanged): void => {
    const at = event.timestamp;
    if (this.#documents.tickets.get(event.ticketDocumentId)?.quantity === 0) {
      // Its details are on their way in an older version, which is not taken.
      this.catchUp();
    }
    this.#patch('tickets', event.ticketDocumentId, event.serverTimestamp, ({ startedAt, readyAt }) => ({
      status: event.newStatus,
      startedAt: event.newStatus === 'new' ? startedAt : (startedAt ?? at),
      readyAt: event.newStatus === 'ready' ? (readyAt ?? at) : readyAt,
    }));
  };

  readonly orderCreated = (event: OrderCreated): void => {
    this.#patch('orders', event.orderDocumentId, event.serverTimestamp, () => ({ status: event.status }));
  };

  readonly orderUpdated = (event: OrderUpdated): void => {
    this.#patch('orders', event.orderDocumentId, event.serverTimestamp, () => ({ status: event.status }));
  };

  readonly orderCancelled = (event: OrderCancelled): void => {
    this.#patch('orders', event.orderDocumentId, event.serverTimestamp, () => ({
      status: 'cancelled',
      cancelReason: event.reason ?? null,
    }));
  };

  readonly lowStock = (event: LowStock): void => {
    const { currentStock, minStock } = event;
    this.#patch('ingredients', event.ingredientDocumentId, event.serverTimestamp, () => ({ currentStock, minStock }));
  };

  readonly tableStatusChanged = (event: TableStatusChanged): void => {
    const table = [...this.#documents.tables.values()].find(({ number }) => number === event.tableNumber);
    this.#patch('tables', table?.documentId ?? '', event.serverTimestamp, () => ({ status: event.newStatus }));
  };

  /** Reads what has changed since it was last read. Calls at the same time are one. */
  readonly catchUp = (): void => {
    if (this.#reading) {
      this.#readAgain = true;
      return;
    }
    clearTimeout(this.#retryTimer);
    this.#reading = this.#read().finally(() => {
      this.#reading = undefined;
      if (this.#readAgain) {
        this.#readAgain = false;
        this.catchUp();
      }
    });
  };

  // What this device does.

  /** Shows the step at once and tells the back end as soon as that can be reached. */
  moveTicket(documentId: string, status: TicketStatus): void {
    this.#moves.set(documentId, status);
    this.#changed();
    void this.#send();
  }

  #patch<K extends keyof Documents>(
    kind: K,
    documentId: string,
    version: number,
    change: (document: Documents[K] extends Map<string, infer D> ? D : never) => object,
  ): void {
    const documents = this.#documents[kind] as Map<string, { version: number }>;
    const document = documents.get(documentId);
    if (!document) {
      this.catchUp();
    } else if (version > document.version) {
      documents.set(documentId, { ...document, ...change(document as never), version });
      this.#changed();
    }
  }

  async #read(): Promise<void> {
    try {
      const asked = Date.now();
      const changes = await api.changes(this.#origin, this.#version);
      setServerTime(changes.serverTime, asked);
      this.#accept(changes);
      this.#isReachable = true;
      this.#knownAt = Date.now();
      void this.#send();
    } catch {
      this.#isReachable = false;
      this.#retryTimer = setTimeout(this.catchUp, RETRY_MS);
    }
    this.#changed();
  }

  #accept(changes: Changes): void {
    this.#acceptKind('orders', changes.orders, changes);
    this.#acceptKind('tickets', changes.tickets, changes);
    this.#acceptKind('ingredients', changes.ingredients, changes);
    this.#acceptKind('tables', changes.tables, changes);
    this.#origin = changes.origin;
    this.#version = changes.version;
  }

  #acceptKind(kind: keyof Documents, changed: { documentId: string; version: number }[], changes: Changes): void {
    const known = this.#documents[kind] as Map<string, { documentId: string; version: number }>;
    if (changes.isSnapshot) {
      const isSameDatabase = changes.origin === this.#origin;
      for (const [documentId, { version }] of known) {
        // An event may have overtaken the snapshot.
        if (!isSameDatabase || version < changes.version) {
          known.delete(documentId);
        }
      }
    }
    for (const document of changed) {
      const before = known.get(document.documentId);
      if (!before || document.version >= before.version) {
        known.set(document.documentId, document);
      }
    }
  }

  async #send(): Promise<void> {
    if (this.#isSending) {
      return;
    }
    this.#isSending = true;
    try {
      // The next one is looked up anew: a ticket may be tapped again meanwhile.
      for (let move = first(this.#moves); move; move = first(this.#moves)) {
        const [documentId, status] = move;
        await this.#sendMove(documentId, status);
      }
    } catch {
      // Nobody answered. The next successful read tries again.
      this.#isReachable = false;
      clearTimeout(this.#retryTimer);
      this.#retryTimer = setTimeout(this.catchUp, RETRY_MS);
    } finally {
      this.#isSending = false;
      this.#changed();
    }
  }

  async #sendMove(documentId: string, status: TicketStatus): Promise<void> {
    try {
      const ticket = await api.moveTicket(documentId, status);
      const before = this.#documents.tickets.get(documentId);
      if (!before || ticket.version >= before.version) {
        this.#documents.tickets.set(documentId, ticket);
      }
    } catch (error) {
      if (!(error instanceof Refused)) {
        throw error;
      }
      this.onRefusal(error.message);
    }
    if (this.#moves.get(documentId) === status) {
      this.#moves.delete(documentId);
    }
    this.#changed();
  }

  #changed(): void {
    this.#showTimer ??= setTimeout(() => {
      this.#showTimer = undefined;
      this.#view = this.#look();
      this.#listeners.forEach((listener) => listener());
    }, SHOW_AFTER_MS);
    this.#keepTimer ??= setTimeout(() => this.#keep(), KEEP_EVERY_MS);
  }

  #look(): View {
    const tickets = [...this.#documents.tickets.values()];
    return {
      orders: [...this.#documents.orders.values()].sort((one, other) => one.orderNumber - other.orderNumber),
      tickets: tickets.map((ticket) => {
        const status = this.#moves.get(ticket.documentId);
        return status ? { ...ticket, status } : ticket;
      }),
      ingredients: [...this.#documents.ingredients.values()].sort((one, other) => one.name.localeCompare(other.name)),
      tables: [...this.#documents.tables.values()].sort((one, other) => one.number - other.number),
      knownAt: this.#knownAt,
      isReachable: this.#isReachable,
      unsent: this.#moves.size,
    };
  }

  /** Whether nobody will look at this ticket again: it is done, and so is its bill. */
  #isOver({ status, orderDocumentId }: Ticket): boolean {
    const order = this.#documents.orders.get(orderDocumentId);
    return DONE.includes(status) && (!order || CLOSED.includes(order.status));
  }

  #forget(): void {
    const { orders, tickets } = this.#documents;
    const before = serverNow() - FORGET_AFTER_MS;
    for (const ticket of tickets.values()) {
      if (this.#isOver(ticket) && ticket.version < before) {
        tickets.delete(ticket.documentId);
      }
    }
    for (const { documentId, status, version } of orders.values()) {
      if (CLOSED.includes(status) && version < before) {
        orders.delete(documentId);
      }
    }
    this.#changed();
  }

  #keep(): void {
    clearTimeout(this.#keepTimer);
    this.#keepTimer = undefined;
    const { orders, tickets, ingredients, tables } = this.#documents;
    save<Kept>('restaurant', {
      origin: this.#origin,
      version: this.#version,
      knownAt: this.#knownAt,
      documents: {
        // What is over would fill the device's storage in a busy hour.
        orders: [...orders.values()].filter(({ status }) => !CLOSED.includes(status)),
        tickets: [...tickets.values()].filter((ticket) => !this.#isOver(ticket)),
        ingredients: [...ingredients.values()],
        tables: [...tables.values()],
      },
      moves: [...this.#moves],
    });
  }

  #restore(): void {
    const kept = load<Kept>('restaurant');
    if (!kept) {
      return;
    }
    this.#accept({ ...kept.documents, origin: kept.origin, version: kept.version, isSnapshot: false, serverTime: 0 });
    this.#knownAt = kept.knownAt;
    this.#moves = new Map(kept.moves);
  }
}

function first<K, V>(map: Map<K, V>): [K, V] | undefined {
  return map.entries().next().value;
}
