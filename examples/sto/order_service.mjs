// The order service of a car service: it knows the orders, and tells Fanfare what has
// happened to them. A real one would have a database.

import { randomUUID } from 'node:crypto';

const RANGES = { reception: 1, workshop: 100, diagnostic: 200, bodywork: 300 };
const RANGE = 99;

export class OrderService {
  orders = [];
  #server;
  #token;
  #given = {};

  /** Tells the Fanfare at `server`, which knows it by `token`. */
  constructor(server, token) {
    this.#server = server;
    this.#token = token;
  }

  inState(...states) {
    return this.orders.filter(({ status }) => states.includes(status));
  }

  /** Somebody has come; `wishes` is what they want. */
  async create(wishes) {
    const given = this.#given[wishes.zone] ?? 0;
    this.#given[wishes.zone] = (given + 1) % RANGE;
    const order = {
      id: randomUUID(),
      queueNumber: RANGES[wishes.zone] + given,
      queueNumberInZone: given + 1,
      priority: 'normal',
      isSelfService: false,
      currency: 'TJS',
      ...wishes,
      status: 'waiting',
      createdAt: new Date().toISOString(),
    };
    this.orders.push(order);
    await this.#tell('orders/created', { order });
    return order;
  }

  /** An order has another status now, and what comes with it. */
  async change(order, newStatus, changes = {}) {
    const oldStatus = order.status;
    const now = new Date().toISOString();
    Object.assign(order, changes, { status: newStatus, updatedAt: now });
    if (newStatus === 'in_progress') {
      order.startedAt ??= now;
    }
    if (newStatus === 'completed') {
      order.completedAt = now;
    }
    await this.#tell('orders/status-changed', { orderId: order.id, oldStatus, newStatus, order });
    if (['completed', 'cancelled'].includes(newStatus)) {
      this.orders.splice(this.orders.indexOf(order), 1);
    }
  }

  async #tell(path, body) {
    const answer = await fetch(`${this.#server}/adapters/sto/v1/${path}`, {
      method: 'POST',
      headers: { 'content-type': 'application/json', 'x-webhook-token': this.#token },
      body: JSON.stringify(body),
      signal: AbortSignal.timeout(10_000),
    });
    if (!answer.ok) {
      throw new Error(`${path} answers ${answer.status}: ${await answer.text()}`);
    }
  }
}
