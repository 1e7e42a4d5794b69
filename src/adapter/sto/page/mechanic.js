// The terminal of a mechanic: the orders of their zone, as they come and change.
//
// mechanic?zone=workshop#token=JWT
//
// Taking and finishing an order is the order service's: what it says is shown here.

import { askToken, channelOf, connect, knownToken } from './live.js';
import {
  ZONES, inOrder, latestFirst, make, minutesSince, numberOf, priorityOf, statusOf, vehicleOf, zoneOf,
} from './orders.js';
import { prepare, say } from './words.js';

const OPEN = ['in_progress', 'waiting', 'blocked'];
const NEW_MS = 20_000;
const MOST_ORDERS = 500;

const element = (id) => document.getElementById(id);
const query = new URLSearchParams(location.search);
const zone = (query.get('zone') ?? '').toLowerCase();
const orders = new Map();
const parts = new Map();
const arrived = new Map();
const finished = new Set();
let colleagues = 0;

function card(order) {
  const status = statusOf(order);
  const priority = priorityOf(order);
  const begun = status === 'in_progress' ? order.startedAt : order.createdAt;
  const spent = minutesSince(begun);
  const times = [
    spent !== undefined && say(status === 'in_progress' ? 'minutesSpent' : 'minutesWaited', { minutes: spent }),
    order.estimatedDurationMinutes && say('minutesPlanned', { minutes: order.estimatedDurationMinutes }),
  ];
  const chips = [
    priority !== 'normal' && make('span', { class: `chip ${priority}` }, say(priority)),
    order.bayNumber && make('span', { class: 'chip' }, say('bay', { bay: order.bayNumber })),
    !zone && make('span', { class: 'chip' }, say(zoneOf(order))),
  ];
  const line = (name, text) => (text ? make('p', { class: name }, text) : '');
  const reserved = parts.get(order.id);
  const isNew = Date.now() - (arrived.get(order.id) ?? 0) < NEW_MS;
  return make(
    'li',
    { class: isNew ? 'order is-new' : 'order', 'data-order': order.id },
    make('span', { class: 'number' }, numberOf(order)),
    make('span', { class: 'chips' }, ...chips.filter(Boolean)),
    line('vehicle', [vehicleOf(order), order.licensePlate].filter(Boolean).join(' · ')),
    line('', order.workDescription),
    line('reason', status === 'blocked' && order.blockedReason),
    line('soft', times.filter(Boolean).join(' · ')),
    line('soft', order.mechanicName && say('mechanic', { name: order.mechanicName })),
    line('soft', reserved && say('partsReserved', { parts: reserved })),
  );
}

function show() {
  const all = [...orders.values()].filter((order) => !zone || zoneOf(order) === zone);
  const numbers = {};
  for (const status of OPEN) {
    const found = all.filter((order) => statusOf(order) === status);
    found.sort(status === 'in_progress' ? latestFirst : inOrder);
    numbers[status] = found.length;
    element(status).hidden = found.length === 0;
    element(status).querySelector('ol').replaceChildren(...found.map(card));
  }
  element('empty').hidden = OPEN.some((status) => numbers[status] > 0);
  const facts = [
    ...OPEN.map((status) => [status, numbers[status]]),
    ['finishedHere', finished.size],
    ['colleagues', colleagues],
  ];
  element('numbers').replaceChildren(
    ...facts.map(([name, count]) =>
      make('div', { 'data-count': name }, make('dt', {}, say(name)), make('dd', {}, String(count))),
    ),
  );
  document.title = `${numbers.waiting} · ${say('mechanicTitle')}`;
  document.body.dataset.state = 'shown';
}

function remember(order) {
  orders.delete(order.id);
  if (OPEN.includes(statusOf(order))) {
    orders.set(order.id, order);
  } else {
    parts.delete(order.id);
  }
  if (orders.size > MOST_ORDERS) {
    orders.delete(orders.keys().next().value);
  }
}

function takeNew({ order }) {
  arrived.clear();
  arrived.set(order.id, Date.now());
  remember(order);
  element('news').textContent = say('newOrder', { number: numberOf(order) });
  show();
}

function takeChange({ order, newStatus }) {
  const status = (newStatus ?? order.status).toLowerCase();
  remember({ ...order, status });
  if (status === 'completed') {
    finished.add(order.id);
  }
  element('news').textContent = say('statusNow', { number: numberOf(order), status: say(status) });
  show();
}

function takeParts({ orderId, items = [] }) {
  parts.set(orderId, items.map(({ partId, name, quantity }) => `${name ?? partId} × ${quantity}`).join(', '));
  show();
}

/** What was there before; the whole of it, so that nothing stays that is over. */
function takeAll({ orders: all }) {
  orders.clear();
  all.forEach(remember);
  element('hint').hidden = true;
  show();
}

function showZones() {
  const link = (name, text) => {
    const there = new URL(location);
    there.searchParams.set('zone', name);
    if (!name) {
      there.searchParams.delete('zone');
    }
    return make('a', { href: there, 'aria-current': name === zone && 'page' }, text);
  };
  element('zones').replaceChildren(link('', say('allZones')), ...ZONES.map((name) => link(name, say(name))));
}

prepare('mechanicTitle');
showZones();
setInterval(() => document.body.dataset.state === 'shown' && show(), 30_000);

const token = knownToken();
const earlier = channelOf('presence', `sto-display:mechanics-${zone || 'all'}`);
const pusher = await connect({
  token,
  params: (channel) =>
    channel === earlier
      ? { filters: JSON.stringify({ zones: zone ? [zone] : [], workTypes: [], showBlocked: true }) }
      : { zone },
  onRefused: (channel, { status }) => {
    if (channel === earlier) {
      element('hint').hidden = false;
    } else {
      askToken(status === 401 && !token ? 'noToken' : 'refusedToken');
    }
  },
});
const own = pusher.subscribe(zone ? channelOf('private', `sto-zone:${zone}`) : 'private-sto-orders');
own.bind('new_order', takeNew);
own.bind('order_status_changed', takeChange);
own.bind('inventory_reserved', takeParts);
own.bind('pusher:subscription_succeeded', () => {
  show();
  pusher.subscribe(earlier).bind('queue_update', takeAll);
});
const house = pusher.subscribe('presence-sto-mechanics');
for (const event of ['pusher:subscription_succeeded', 'pusher:member_added', 'pusher:member_removed']) {
  house.bind(event, () => {
    colleagues = house.members.count;
    if (document.body.dataset.state === 'shown') {
      show();
    }
  });
}
