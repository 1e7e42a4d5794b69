// Orders as the pages see them: in whatever letter case they come, and whatever they lack.

export const ZONES = ['reception', 'workshop', 'diagnostic', 'bodywork'];

const PRIORITIES = ['urgent', 'vip', 'warranty', 'normal'];

const word = (value) => (typeof value === 'string' ? value.toLowerCase() : '');

export const statusOf = (order) => word(order.status);
export const zoneOf = (order) => word(order.zone);
export const priorityOf = (order) => (PRIORITIES.includes(word(order.priority)) ? word(order.priority) : 'normal');
export const numberOf = (order) => String(order.queueNumber ?? order.queueNumberInZone ?? '–');
export const vehicleOf = (order) => [order.vehicleMake, order.vehicleModel].filter(Boolean).join(' ');

/** The most urgent first, then those who came first. */
export function inOrder(one, other) {
  const rank = (order) => PRIORITIES.indexOf(priorityOf(order));
  return rank(one) - rank(other) || compare(one.createdAt, other.createdAt);
}

/** Who was called last comes first. */
export function latestFirst(one, other) {
  return compare(other.startedAt ?? other.updatedAt, one.startedAt ?? one.updatedAt);
}

/** Zones of these orders, the usual ones first. */
export function zonesOf(orders) {
  const found = new Set(orders.map(zoneOf));
  const others = [...found].filter((zone) => !ZONES.includes(zone)).sort();
  return [...ZONES.filter((zone) => found.has(zone)), ...others];
}

/** Whole minutes since a time, at least 0; undefined when it is none. */
export function minutesSince(time) {
  const begun = Date.parse(time ?? '');
  return Number.isNaN(begun) ? undefined : Math.max(0, Math.floor((Date.now() - begun) / 60_000));
}

/** A new element: `make('p', { class: 'name' }, 'text', child…)`. */
export function make(name, attributes = {}, ...content) {
  const element = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (value !== undefined && value !== false) {
      element.setAttribute(key, value === true ? '' : value);
    }
  }
  element.append(...content.filter((part) => part !== undefined && part !== ''));
  return element;
}

function compare(one, other) {
  const [a, b] = [String(one ?? ''), String(other ?? '')];
  return a < b ? -1 : Number(a > b);
}
