// Guests, waiters and cooks who are not there: orders come, are cooked, served and
// paid, some are cancelled, and the storeroom runs low and is filled again.
//
// Uses nothing but the back end's HTTP API, as a waiter's tablet does. Ends with
// the process.

const NOTES = {
  grill: ['well done', 'medium rare', 'no onions', 'sauce on the side'],
  hot: ['gluten-free', 'no cream', 'nut allergy'],
  fry: ['extra lemon', 'no salt'],
  salad: ['dressing aside', 'nut allergy'],
  dessert: ['nut allergy', 'with a candle'],
  bar: ['no ice', 'decaf'],
};
const SUPPLIERS = ['Hof Lindner', 'Fresh & Co', 'Market hall'];

// Milliseconds. Guests come faster than a small restaurant would like: the page is
// to be alive within a minute.
const STEP_MS = 700;
const MAX_OPEN_TICKETS = 24;

const random = (from, to) => from + Math.floor(Math.random() * (to - from + 1));
const oneOf = (list) => list[random(0, list.length - 1)];
const happens = (share) => Math.random() < share;

/** Plays the restaurant at `url`, one small step after the other. */
export async function playRestaurant(url) {
  const { items } = await ask(url, 'GET', '/api/menu');
  // When the kitchen intends to be through with a step of a ticket.
  const plans = new Map();
  for (;;) {
    try {
      await playStep(url, items, plans);
    } catch (error) {
      // Somebody at a display was faster, or the back end is being restarted.
      console.error(`sample traffic: ${error.message}`);
    }
    await new Promise((resolve) => setTimeout(resolve, STEP_MS));
  }
}

async function playStep(url, items, plans) {
  const { orders, tickets, tables, ingredients, serverTime } = await ask(url, 'GET', '/api/changes?since=0');
  const open = tickets.filter(({ status }) => ['new', 'cooking'].includes(status));
  if (open.length < MAX_OPEN_TICKETS && happens(open.length < 8 ? 0.8 : 0.22)) {
    await placeOrder(url, items, tables);
  }
  const due = open.filter((ticket) => plan(plans, ticket) < serverTime).slice(0, 2);
  for (const { documentId, status } of due) {
    plans.delete(documentId);
    await ask(url, 'PUT', `/api/tickets/${documentId}`, { status: status === 'new' ? 'cooking' : 'ready' });
  }
  const atPass = tickets.filter(({ status, readyAt }) => status === 'ready' && serverTime - Date.parse(readyAt) > 9_000);
  if (atPass.length > 0 && happens(0.6)) {
    await ask(url, 'PUT', `/api/tickets/${oneOf(atPass).documentId}`, { status: 'served' });
  }
  const done = tables.filter(({ number, status }) => {
    const bills = orders.filter((order) => order.tableNumber === number && !['paid', 'cancelled'].includes(order.status));
    return status === 'occupied' && bills.length > 0 && bills.every((order) => order.status === 'served');
  });
  if (done.length > 0 && happens(0.15)) {
    await ask(url, 'POST', `/api/tables/${oneOf(done).number}/pay`);
  }
  const fresh = orders.filter(({ status }) => status === 'new');
  if (fresh.length > 0 && happens(0.004)) {
    await ask(url, 'POST', `/api/orders/${oneOf(fresh).documentId}/cancel`, { reason: 'the guests have left' });
  }
  const scarce = ingredients.filter(({ currentStock, minStock }) => currentStock < minStock);
  if (scarce.length > 2 || (scarce.length > 0 && happens(0.04))) {
    const { documentId, minStock } = scarce[0];
    await ask(url, 'POST', '/api/batches', {
      ingredientDocumentId: documentId,
      quantity: Math.ceil(minStock * 2),
      supplierName: oneOf(SUPPLIERS),
    });
  }
}

async function placeOrder(url, items, tables) {
  const dishes = Array.from({ length: random(1, 4) }, () => {
    const { id, station } = oneOf(items);
    return { menuItem: id, quantity: happens(0.7) ? 1 : random(2, 3), note: happens(0.2) ? oneOf(NOTES[station]) : '' };
  });
  await ask(url, 'POST', '/api/orders', {
    requestId: `sample-${Date.now()}-${random(1_000, 9_999)}`,
    tableNumber: happens(0.25) ? null : oneOf(tables).number,
    priority: happens(0.08) ? 'high' : 'normal',
    items: dishes,
  });
}

/** When this step is done: mostly in time, sometimes not. */
function plan(plans, { documentId, createdAt, startedAt, slaSeconds, status }) {
  if (!plans.has(documentId)) {
    const share = status === 'new' ? 0.1 + Math.random() * 0.4 : 0.2 + Math.random() * (happens(0.25) ? 0.9 : 0.4);
    plans.set(documentId, Date.parse(startedAt ?? createdAt) + share * slaSeconds * 1_000);
  }
  return plans.get(documentId);
}

async function ask(url, method, path, body = {}) {
  const request = method === 'GET' ? {} : { body: JSON.stringify(body), headers: { 'content-type': 'application/json' } };
  const answer = await fetch(url + path, { method, signal: AbortSignal.timeout(10_000), ...request });
  const content = await answer.json();
  if (!answer.ok) {
    throw new Error(`${method} ${path}: ${content.error}`);
  }
  return content;
}
