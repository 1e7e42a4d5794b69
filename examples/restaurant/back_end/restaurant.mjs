// The rules of the house: what becomes of an order, and when somebody is late.
//
// Every method may be called twice with the same arguments, as a tablet does whose
// answer got lost, and does its work once.

import { INGREDIENTS, MENU, STATIONS, TABLES } from './menu.mjs';
import { PUSHER_EVENTS, emitSLA } from './src/utils/pusher.mjs';

const TICKET_STATUSES = ['new', 'cooking', 'ready', 'served'];

/** What is done stays in a snapshot this long, for the boards that show it. */
const RECENT_MS = 10 * 60_000;

/** More changes than this come as a snapshot. */
const MAX_CHANGES = 2_000;

/** Share of the time after which the kitchen is warned. */
const WARNING_SHARE = 0.8;

const FIRST_ORDER = 101;
const MAX_ITEMS = 30;
const MAX_QUANTITY = 50;

/** What was asked for cannot be done. `message` is for the person who asked. */
export class Refusal extends Error {
  constructor(status, message) {
    super(message);
    this.status = status;
  }
}

export class Restaurant {
  #documents;
  #pace;

  /** With `pace` 10 a minute of the kitchen's clock passes in six seconds. */
  constructor(documents, pace = 1) {
    this.#documents = documents;
    this.#pace = pace;
    documents.transaction(() => this.#furnish());
  }

  #furnish() {
    if (this.#documents.findMany('table').length > 0) {
      return;
    }
    TABLES.forEach((seats, index) => this.#documents.create('table', { number: index + 1, seats, status: 'free' }));
    for (const [documentId, ingredient] of Object.entries(INGREDIENTS)) {
      this.#documents.create('ingredient', { documentId, ...ingredient });
    }
  }

  menu() {
    return {
      stations: Object.entries(STATIONS).map(([id, { name }]) => ({ id, name })),
      items: MENU.map(({ id, name, price, station }) => ({ id, name, price, station })),
    };
  }

  /**
   * What has changed after the version `since` of the database `origin`; all that
   * matters now if that is not known or too long ago.
   */
  changes(origin, since) {
    const { version } = this.#documents;
    const isKnown = origin === this.#documents.origin && since > 0 && since <= version;
    const lists = isKnown ? this.#changedAfter(since) : null;
    const isSnapshot = lists === null || Object.values(lists).flat().length > MAX_CHANGES;
    return {
      origin: this.#documents.origin,
      version,
      isSnapshot,
      serverTime: Date.now(),
      ...(isSnapshot ? this.#snapshot() : lists),
    };
  }

  #changedAfter(since) {
    const changed = (type) => this.#documents.findMany(type, 'version > ? ORDER BY version', since);
    return { orders: changed('order'), tickets: changed('ticket'), ingredients: changed('ingredient'), tables: changed('table') };
  }

  #snapshot() {
    const recently = Date.now() - RECENT_MS;
    const lively = (type, open) =>
      this.#documents.findMany(type, `status IN (${open.map(() => '?')}) OR version > ? ORDER BY version`, ...open, recently);
    return {
      orders: lively('order', ['new', 'preparing', 'ready', 'served']),
      tickets: [
        ...lively('ticket', ['new', 'cooking', 'ready']),
        // The dishes of a bill that is still open.
        ...this.#documents.findMany(
          'ticket',
          `status = 'served' AND version <= ? AND orderDocumentId IN
             (SELECT documentId FROM "order" WHERE status IN ('new', 'preparing', 'ready', 'served'))`,
          recently,
        ),
      ],
      ingredients: this.#documents.findMany('ingredient'),
      tables: this.#documents.findMany('table'),
    };
  }

  /** `requestId` names the order before it has a number, so that a repeated request is no second order. */
  placeOrder({ requestId, tableNumber = null, priority = 'normal', items }) {
    check(typeof requestId === 'string' && /^[\w-]{8,64}$/.test(requestId), 'requestId is missing');
    check(['normal', 'high'].includes(priority), 'priority is normal or high');
    check(Array.isArray(items) && items.length >= 1 && items.length <= MAX_ITEMS, `an order has 1 to ${MAX_ITEMS} items`);
    const dishes = items.map(readItem);
    return this.#documents.transaction(() => {
      const known = this.#documents.findOne('order', { requestId });
      if (known) {
        return known;
      }
      if (tableNumber !== null) {
        this.#occupy(tableNumber);
      }
      return this.#createOrder({ requestId, tableNumber, priority, dishes });
    });
  }

  #occupy(number) {
    const table = Number.isInteger(number) && this.#documents.findOne('table', { number });
    check(table, 'there is no such table');
    if (table.status === 'free') {
      this.#documents.update('table', table.documentId, { status: 'occupied' });
    }
  }

  #createOrder({ requestId, tableNumber, priority, dishes }) {
    const [latest] = this.#documents.findMany('order', 'TRUE ORDER BY orderNumber DESC LIMIT 1');
    const cents = dishes.reduce((sum, { dish, quantity }) => sum + Math.round(dish.price * 100) * quantity, 0);
    const order = this.#documents.create('order', {
      requestId,
      orderNumber: (latest?.orderNumber ?? FIRST_ORDER - 1) + 1,
      tableNumber,
      status: 'new',
      totalAmount: cents / 100,
      itemCount: dishes.reduce((sum, { quantity }) => sum + quantity, 0),
    });
    dishes.forEach(({ dish, quantity, note }, index) => {
      this.#documents.create('ticket', {
        ticketNumber: `${order.orderNumber}-${index + 1}`,
        orderDocumentId: order.documentId,
        orderNumber: order.orderNumber,
        tableNumber,
        station: dish.station,
        priority,
        status: 'new',
        menuItemName: dish.name,
        quantity,
        note,
        slaSeconds: Math.max(1, Math.round((STATIONS[dish.station].slaMinutes * 60) / this.#pace)),
        slaState: 'ok',
      });
    });
    return order;
  }

  /** Any step forward or back, except out of a cancellation. */
  moveTicket(documentId, status) {
    check(TICKET_STATUSES.includes(status), `status is one of ${TICKET_STATUSES.join(', ')}`);
    return this.#documents.transaction(() => {
      const ticket = this.#find('ticket', documentId);
      if (ticket.status === status) {
        return ticket;
      }
      if (ticket.status === 'cancelled') {
        throw new Refusal(409, `${ticket.menuItemName} was cancelled`);
      }
      const order = this.#find('order', ticket.orderDocumentId);
      if (order.status === 'paid') {
        throw new Refusal(409, `order ${order.orderNumber} is paid`);
      }
      if (status !== 'new' && ticket.startedAt === null) {
        this.#consume(ticket);
      }
      const moved = this.#documents.update('ticket', documentId, { status, ...this.#times(ticket, status) });
      this.#followTickets(order);
      return moved;
    });
  }

  #times(ticket, status) {
    const now = new Date().toISOString();
    const reached = TICKET_STATUSES.indexOf(status);
    return {
      startedAt: reached >= 1 ? (ticket.startedAt ?? now) : ticket.startedAt,
      readyAt: reached >= 2 ? (ticket.readyAt ?? now) : null,
      servedAt: reached >= 3 ? now : null,
    };
  }

  #consume({ menuItemName, quantity }) {
    const { uses } = MENU.find(({ name }) => name === menuItemName) ?? { uses: {} };
    for (const [documentId, amount] of Object.entries(uses)) {
      const { currentStock } = this.#find('ingredient', documentId);
      this.#documents.update('ingredient', documentId, { currentStock: rounded(Math.max(0, currentStock - amount * quantity)) });
    }
  }

  /** An order is as far as its dishes are. */
  #followTickets(order) {
    const statuses = this.#documents
      .findMany('ticket', `orderDocumentId = ? AND status != 'cancelled'`, order.documentId)
      .map(({ status }) => TICKET_STATUSES.indexOf(status));
    const least = Math.min(...statuses);
    const status = least >= 3 ? 'served' : least >= 2 ? 'ready' : Math.max(...statuses) >= 1 ? 'preparing' : 'new';
    if (status !== order.status) {
      this.#documents.update('order', order.documentId, { status });
    }
  }

  cancelOrder(documentId, reason = '') {
    const cancelReason = text(reason, 'reason');
    return this.#documents.transaction(() => {
      const order = this.#find('order', documentId);
      if (order.status === 'cancelled') {
        return order;
      }
      if (['served', 'paid'].includes(order.status)) {
        throw new Refusal(409, `order ${order.orderNumber} is ${order.status}`);
      }
      for (const ticket of this.#documents.findMany('ticket', `orderDocumentId = ? AND status != 'served'`, documentId)) {
        this.#documents.update('ticket', ticket.documentId, { status: 'cancelled' });
      }
      const cancelled = this.#documents.update('order', documentId, { status: 'cancelled', cancelReason });
      this.#freeTable(order.tableNumber);
      return cancelled;
    });
  }

  /** Closes the bill of a table whose guests have everything. */
  payTable(number) {
    return this.#documents.transaction(() => {
      const table = this.#documents.findOne('table', { number });
      check(table, 'there is no such table');
      const orders = this.#openOrders(number);
      if (orders.some(({ status }) => status !== 'served')) {
        throw new Refusal(409, `table ${number} still waits for dishes`);
      }
      orders.forEach(({ documentId }) => this.#documents.update('order', documentId, { status: 'paid' }));
      this.#freeTable(number);
      return this.#documents.findOne('table', { number });
    });
  }

  #openOrders(tableNumber) {
    return this.#documents.findMany('order', `tableNumber = ? AND status NOT IN ('paid', 'cancelled')`, tableNumber);
  }

  #freeTable(number) {
    const table = number === null ? null : this.#documents.findOne('table', { number });
    if (table && table.status !== 'free' && this.#openOrders(number).length === 0) {
      this.#documents.update('table', table.documentId, { status: 'free' });
    }
  }

  receiveBatch({ ingredientDocumentId, quantity, supplierName = '' }) {
    check(Number.isFinite(quantity) && quantity > 0 && quantity <= 10_000, 'quantity is a number above 0');
    const supplier = text(supplierName, 'supplierName');
    return this.#documents.transaction(() => {
      const ingredient = this.#find('ingredient', ingredientDocumentId);
      const currentStock = rounded(ingredient.currentStock + quantity);
      this.#documents.update('ingredient', ingredientDocumentId, { currentStock });
      return this.#documents.create('batch', { ingredientDocumentId, quantity, supplierName: supplier });
    });
  }

  /**
   * Tells the kitchen, once each, of dishes that become late and that are late.
   * Call it every second: each call takes a ticket one step on, so that there is a
   * warning before every breach.
   */
  watchTime() {
    for (const ticket of this.#documents.findMany('ticket', `status IN ('new', 'cooking') AND slaState != 'breach'`)) {
      const share = (Date.now() - Date.parse(ticket.createdAt)) / 1_000 / ticket.slaSeconds;
      const isLate = share >= 1 && ticket.slaState === 'warning';
      const slaState = isLate ? 'breach' : share >= WARNING_SHARE ? 'warning' : 'ok';
      if (slaState === ticket.slaState) {
        continue;
      }
      const late = this.#documents.update('ticket', ticket.documentId, { slaState });
      const where = ticket.tableNumber === null ? `takeaway ${ticket.orderNumber}` : `table ${ticket.tableNumber}`;
      if (slaState === 'breach') {
        emitSLA(PUSHER_EVENTS.TIMER_SLA_BREACH, late, `${ticket.menuItemName} for ${where} is late`, 'critical');
      } else {
        emitSLA(PUSHER_EVENTS.TIMER_SLA_WARNING, late, `${ticket.menuItemName} for ${where} is due soon`, 'warning');
      }
    }
  }

  #find(type, documentId) {
    const document = typeof documentId === 'string' ? this.#documents.findOne(type, { documentId }) : null;
    if (!document) {
      throw new Refusal(404, `there is no such ${type}`);
    }
    return document;
  }
}

function readItem(item) {
  const { menuItem, quantity = 1, note = '' } = item ?? {};
  const dish = MENU.find(({ id }) => id === menuItem);
  check(dish, 'there is no such dish on the menu');
  check(Number.isInteger(quantity) && quantity >= 1 && quantity <= MAX_QUANTITY, `quantity is 1 to ${MAX_QUANTITY}`);
  return { dish, quantity, note: text(note, 'note') };
}

/** A short text, or null for an empty one. */
function text(value, name) {
  check(typeof value === 'string' && value.length <= 200, `${name} is a text of at most 200 characters`);
  return value.trim() || null;
}

function check(isFine, message) {
  if (!isFine) {
    throw new Refusal(400, message);
  }
}

/** Without the dust of binary fractions. */
function rounded(amount) {
  return Math.round(amount * 1_000) / 1_000;
}
