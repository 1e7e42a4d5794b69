// The page of a customer: their number, their place, and the way out of the queue.
//
// queue/status/ORDER?phone=…   follows an order
// queue/status/?token=…        joins the queue, from a QR code

import { ROOT, Refused, ask, channelOf, connect, patiently } from './live.js';
import { make, numberOf, statusOf, vehicleOf, zoneOf } from './orders.js';
import { prepare, say, timeOf } from './words.js';

const element = (id) => document.getElementById(id);
const query = new URLSearchParams(location.search);
const queueToken = query.get('token');
let orderId = decodeURIComponent(location.pathname.split('/').pop());
let phone = query.get('phone') ?? '';
let pusher;

function show(id, trouble) {
  for (const other of ['phone-form', 'join-form', 'order']) {
    element(other).hidden = other !== id;
  }
  element('trouble').hidden = !trouble;
  element('trouble').textContent = trouble ?? '';
  document.body.dataset.state = 'shown';
}

const SAYS = {
  waiting: 'sayWaiting',
  in_progress: 'sayInProgress',
  blocked: 'sayBlocked',
  completed: 'sayCompleted',
  cancelled: 'sayCancelled',
};

/** A change is spoken; what has not changed is left alone. */
function write(id, text) {
  if (element(id).textContent !== text) {
    element(id).textContent = text;
  }
}

function showOrder(order) {
  const status = statusOf(order);
  write('number', numberOf(order));
  write('zone', say(zoneOf(order)));
  element('status').className = status;
  const ahead = Math.max(0, (order.currentPosition ?? 1) - 1);
  const isNext = status === 'waiting' && ahead === 0;
  write('status', say(isNext ? 'youAreNext' : status));
  write('words', Object.hasOwn(SAYS, status) ? say(SAYS[status]) : '');
  element('place').hidden = status !== 'waiting';
  write('ahead', String(ahead));
  const minutes = order.estimatedWaitMinutes;
  write('wait', minutes > 0 ? say('aboutMinutes', { minutes }) : say('soon'));
  const facts = [
    ['car', vehicleOf(order)],
    ['work', order.workType && say(order.workType.toLowerCase())],
    ['joinedAt', timeOf(order.createdAt)],
    ['startedAt', timeOf(order.startedAt)],
    ['completedAt', timeOf(order.completedAt)],
  ];
  element('facts').replaceChildren(
    ...facts.filter(([, text]) => text).map(([name, text]) => make('div', {}, make('dt', {}, say(name)), make('dd', {}, text))),
  );
  element('leave').hidden = order.canCancel !== true;
  document.title = `${numberOf(order)} · ${say(status)}`;
  show('order');
}

function askStatus() {
  return ask(`public/queue/status/${encodeURIComponent(orderId)}?${new URLSearchParams({ phone })}`);
}

/** Asks until there is an answer; then the customer's telephone, if it was the wrong one. */
async function follow() {
  document.body.dataset.state = 'loading';
  try {
    const onTrouble = () => show(undefined, say('noAnswer'));
    showOrder(await patiently(askStatus, { onTrouble }));
  } catch {
    show('phone-form', phone ? say('wrongPhone') : undefined);
    return;
  }
  await listen();
}

async function listen() {
  pusher ??= await connect({ params: () => ({ phone }), onRefused: () => show('phone-form', say('wrongPhone')) });
  const name = channelOf('private', `sto-order:${orderId}`);
  // It may have been refused with another telephone.
  pusher.unsubscribe(name);
  const channel = pusher.subscribe(name);
  channel.bind('tracking_update', showOrder);
  // Whatever happened while there was no connection.
  channel.bind('pusher:subscription_succeeded', () => patiently(askStatus).then(showOrder, () => {}));
}

async function join(form) {
  const fields = Object.fromEntries([...new FormData(form)].filter(([, value]) => value.trim()));
  if (fields.phone.replace(/\D/g, '').length < 9) {
    show('join-form', say('phoneWrong'));
    form.elements.phone.focus();
    return;
  }
  const { order } = await ask('public/queue/join', { json: { token: queueToken, ...fields } });
  orderId = order.orderId;
  phone = fields.phone;
  const there = new URL(`queue/status/${encodeURIComponent(orderId)}`, ROOT);
  there.searchParams.set('phone', phone);
  if (query.has('lang')) {
    there.searchParams.set('lang', query.get('lang'));
  }
  history.replaceState(null, '', there);
  prepare('trackTitle');
  await follow();
}

/** Why the queue cannot be joined, in words for a customer. */
function whyNot(error) {
  if (!(error instanceof Refused)) {
    return say('noAnswer');
  }
  return say(error.status === 429 ? 'tooMany' : 'joinUnavailable');
}

async function openQueue() {
  element('title').textContent = say('joinTitle');
  document.title = say('joinTitle');
  show('join-form');
  const info = await ask(`public/queue/info?${new URLSearchParams({ token: queueToken })}`).catch(() => undefined);
  if (info) {
    const { waiting: count, estimatedWaitMinutes: minutes, isOpen } = info;
    element('queue-now').textContent = isOpen ? say('queueNow', { count, minutes }) : say('queueClosed');
  }
}

element('phone-form').addEventListener('submit', (event) => {
  event.preventDefault();
  phone = event.target.elements.phone.value.trim();
  query.set('phone', phone);
  history.replaceState(null, '', `?${query}`);
  prepare('trackTitle');
  follow();
});

element('join-form').addEventListener('submit', async (event) => {
  event.preventDefault();
  const form = event.target;
  const button = form.querySelector('button');
  button.disabled = true;
  button.textContent = say('sending');
  try {
    await join(form);
  } catch (error) {
    show('join-form', whyNot(error));
    element('trouble').scrollIntoView({ block: 'center' });
  }
  button.disabled = false;
  button.textContent = say('join');
});

element('cancel').addEventListener('click', () => element('sure').showModal());
element('stay').addEventListener('click', () => element('sure').close());
element('go').addEventListener('click', async () => {
  element('sure').close();
  element('cancel').disabled = true;
  try {
    await ask(`public/queue/cancel/${encodeURIComponent(orderId)}`, { json: { phone } });
    showOrder(await askStatus());
  } catch (error) {
    show('order', error instanceof Refused ? say('cannotCancel') : say('noAnswer'));
  }
  element('cancel').disabled = false;
});

prepare('trackTitle');
if (orderId) {
  follow();
} else if (queueToken) {
  openQueue();
} else {
  show(undefined, say('noLink'));
}
