// The display board of the service hall.
//
// board?display=ID&zones=reception,workshop&workTypes=…&showBlocked=false#token=JWT

import { askToken, channelOf, connect, knownToken } from './live.js';
import {
  ZONES, inOrder, latestFirst, make, numberOf, priorityOf, statusOf, vehicleOf, zoneOf, zonesOf,
} from './orders.js';
import { prepare, say, timeOf } from './words.js';

const READY_MS = 20 * 60_000;
const MOST_READY = 8;

const element = (id) => document.getElementById(id);
const query = new URLSearchParams(location.search);
const listOf = (name) => (query.get(name) ?? '').split(',').map((part) => part.trim()).filter(Boolean);
const displayId = query.get('display') || 'board';
const filters = {
  zones: listOf('zones'),
  workTypes: listOf('workTypes'),
  showBlocked: query.get('showBlocked') !== 'false',
};
const ready = new Map();
let orders = new Map();
let called;

function tile(order) {
  const chips = [];
  if (statusOf(order) === 'blocked') {
    chips.push(make('span', { class: 'chip blocked' }, `❚❚ ${say('blocked')}`));
  } else if (priorityOf(order) !== 'normal') {
    chips.push(make('span', { class: `chip ${priorityOf(order)}` }, say(priorityOf(order))));
  }
  return make(
    'li',
    { 'data-order': order.id },
    make('span', { class: 'number' }, numberOf(order)),
    make('div', {}, ...chips, make('span', { class: 'vehicle' }, vehicleOf(order))),
  );
}

/** Fills a list with as much as has room; `more` says how many are left out. */
function fill(list, more, items) {
  list.replaceChildren(...items);
  more.hidden = true;
  let hidden = 0;
  // On a screen that scrolls nothing is cut off.
  while (list.scrollHeight > list.clientHeight + 1 && list.children.length > 1) {
    hidden += 1;
    more.hidden = false;
    more.textContent = `+ ${say('more', { count: hidden })}`;
    list.lastElementChild.remove();
  }
}

function bayOf(order) {
  return order.bayNumber ? say('bay', { bay: order.bayNumber }) : say(zoneOf(order));
}

function showCall(order) {
  const box = element('call');
  element('called').classList.toggle('is-idle', !order);
  element('nobody-called').hidden = Boolean(order);
  if (!order) {
    called = undefined;
    box.replaceChildren();
    return;
  }
  const content = [
    make('p', { class: 'number' }, numberOf(order)),
    make('p', { class: 'bay' }, bayOf(order)),
    make('p', { class: 'vehicle' }, [vehicleOf(order), order.licensePlate].filter(Boolean).join(' · ')),
  ];
  // A board that is read out says it once.
  const text = content.map((part) => part.textContent).join();
  if (box.dataset.text !== text) {
    box.dataset.text = text;
    box.replaceChildren(...content);
  }
  if (called !== undefined && called !== order.id) {
    box.classList.remove('is-new');
    void box.offsetWidth;
    box.classList.add('is-new');
  }
  called = order.id;
}

function showReady() {
  for (const [id, { at }] of ready) {
    if (Date.now() - at > READY_MS || ready.size > MOST_READY) {
      ready.delete(id);
    }
  }
  element('ready').hidden = ready.size === 0;
  const numbers = [...ready.values()].reverse().map(({ order }) => numberOf(order));
  if (element('done').dataset.numbers !== numbers.join()) {
    element('done').dataset.numbers = numbers.join();
    element('done').replaceChildren(...numbers.map((number) => make('li', {}, number)));
  }
}

function show() {
  const all = [...orders.values()];
  const atWork = all.filter((order) => statusOf(order) === 'in_progress').sort(latestFirst);
  const queue = all.filter((order) => ['waiting', 'blocked'].includes(statusOf(order))).sort(inOrder);
  document.body.dataset.state = 'shown';
  showReady();
  const isEmpty = all.length === 0;
  for (const id of ['called', 'work', 'waiting']) {
    element(id).hidden = isEmpty;
  }
  element('empty').hidden = !isEmpty;
  element('work').hidden ||= atWork.length < 2;
  showCall(atWork[0]);

  const known = filters.zones.length > 0 ? filters.zones.map((zone) => zone.toLowerCase()) : zonesOf(queue);
  const zones = [...new Set([...known, ...zonesOf(queue)])];
  const columns = zones.map((zone) => {
    const items = queue.filter((order) => zoneOf(order) === zone);
    const list = make('ol', {});
    const head = make('h2', {}, make('span', {}, say(zone)), make('span', {}, String(items.length)));
    const more = make('p', { class: 'more', hidden: true });
    const column = make('section', { 'data-zone': zone, 'aria-label': say(zone) }, head, list, more);
    return { column, list, more, items };
  });
  if (columns.length === 0) {
    const text = make('p', { class: 'none' }, say('nobodyWaits'));
    columns.push({ column: make('section', {}, text), items: [] });
  }
  element('waiting').replaceChildren(...columns.map(({ column }) => column));
  for (const { column, list, more, items } of columns) {
    if (items.length > 0) {
      fill(list, more, items.map(tile));
    } else if (list) {
      column.append(make('p', { class: 'none' }, say('nobodyWaits')));
    }
  }
  const rest = element('at-work');
  rest.replaceChildren(
    ...atWork.slice(1).map((order) =>
      make('li', { 'data-order': order.id }, make('span', { class: 'number' }, numberOf(order)), make('span', { class: 'bay' }, bayOf(order))),
    ),
  );
  const box = element('work');
  while (box.scrollHeight > box.clientHeight + 1 && rest.children.length > 1) {
    rest.lastElementChild.remove();
  }
}

function take({ orders: all }) {
  orders = new Map(all.map((order) => [order.id, order]));
  show();
}

function takeOne({ order, newStatus }) {
  const status = (newStatus ?? order.status).toLowerCase();
  const isOver = ['completed', 'cancelled'].includes(status);
  if (status === 'completed') {
    ready.set(order.id, { order, at: Date.now() });
  } else {
    ready.delete(order.id);
  }
  if (isOver || (status === 'blocked' && !filters.showBlocked)) {
    orders.delete(order.id);
  } else if (orders.has(order.id)) {
    orders.set(order.id, { ...order, status });
  }
  // What is new, or shown no more, comes with the update that follows.
  if (document.body.dataset.state === 'shown') {
    show();
  }
}

function showZones(channel) {
  const has = (zone) => filters.zones.some((known) => known.toLowerCase() === zone);
  const choose = (zone) => {
    filters.zones = has(zone) ? filters.zones.filter((known) => known.toLowerCase() !== zone) : [...filters.zones, zone];
    query.set('zones', filters.zones.join(','));
    history.replaceState(null, '', `?${query}${location.hash}`);
    showZones(channel);
    if (channel.subscribed) {
      channel.trigger('client-update_filters', { filters });
    }
  };
  const buttons = ZONES.map((zone) => {
    const isShown = filters.zones.length === 0 || has(zone);
    const button = make('button', { type: 'button', 'data-zone': zone, 'aria-pressed': String(isShown) }, say(zone));
    button.addEventListener('click', () => {
      choose(zone);
      element('zones').querySelector(`[data-zone=${zone}]`).focus();
    });
    return button;
  });
  element('zones').replaceChildren(...buttons);
}

function tick() {
  const now = new Date();
  element('clock').textContent = timeOf(now);
  element('clock').dateTime = now.toISOString();
  showReady();
}

/** A screen that shows the board does not go dark, where the browser lets us say so. */
async function stayAwake() {
  if (document.visibilityState === 'visible') {
    await navigator.wakeLock?.request('screen').catch(() => {});
  }
}

prepare('boardTitle');
tick();
setInterval(tick, 5_000);
stayAwake();
document.addEventListener('visibilitychange', stayAwake);
// The bar at the foot takes room as well.
new ResizeObserver(() => document.body.dataset.state === 'shown' && show()).observe(document.querySelector('main'));

const token = knownToken();
const pusher = await connect({
  token,
  params: () => ({ displayId, filters: JSON.stringify(filters) }),
  onRefused: (_channel, { status }) => askToken(status === 401 && !token ? 'noToken' : 'refusedToken'),
});
const channel = pusher.subscribe(channelOf('presence', `sto-display:${displayId}`));
channel.bind('queue_update', take);
channel.bind('order_status_changed', takeOne);
// Another connection of this display may still be there, and the server knows that one's.
channel.bind('pusher:subscription_succeeded', () => channel.trigger('client-update_filters', { filters }));
showZones(channel);
