// The desk of an operator. The socket is used as any page of the Socket.IO days did;
// it is the shim's, on Fanfare.

const CITIES = ['Саратов', 'Энгельс', 'Ростов-на-Дону', 'Пенза'];
const KEPT = 40;
const STATUS = { ringing: 'Ringing', answered: 'Talking', ended: 'Ended', missed: 'Missed', new: 'New' };

const find = (selector) => document.querySelector(selector);
const lists = { calls: new Map(), orders: new Map() };
let city = '';
let offlineSince;
// What is heard while the state is on its way, which may be older.
let held;

const { url } = await (await fetch('settings')).json();
const { token, user } = await signIn();
find('#me').textContent = user.name;

const socket = io(url, { auth: { token } });

socket.on('connect', () => {
  offlineSince = undefined;
  showState('online', 'Online');
  held ??= [];
  enter(city);
  // Asked for when nothing can be missed any more.
  socket.emit('join-room', { room: 'operators' }, ({ success, message }) => {
    if (success) {
      load();
    } else {
      held = undefined;
      tell(message, 'error');
    }
  });
});
socket.on('disconnect', () => {
  offlineSince = new Date();
  showState('offline', `Offline since ${clock(offlineSince)}`);
});
socket.on('connect_error', ({ message, data }) => {
  if (data?.status === 401) {
    // Signed by an earlier start of the example, whose secret was another.
    delete sessionStorage.session;
    location.reload();
    return;
  }
  if (!socket.connected) {
    offlineSince ??= new Date();
    showState('offline', `Offline since ${clock(offlineSince)}`);
  } else {
    tell(message, 'error');
  }
});
for (const event of ['call:new', 'call:updated', 'call:ended']) {
  socket.on(event, (call) => hear('calls', call));
}
for (const event of ['order:new', 'order:updated']) {
  socket.on(event, (order) => hear('orders', order));
}
socket.on('notification', ({ message, severity }) => tell(message, severity));
socket.on('user:online', ({ userId, name }) => {
  if (userId !== user.sub) {
    tell(`${name ?? userId} is at a desk.`);
  }
});
socket.on('user:offline', ({ userId, name }) => tell(`${name ?? userId} has left.`));

// The filter: a room of its own for each city, as an operator of one city has it.
for (const each of ['', ...CITIES]) {
  const label = document.createElement('label');
  const choice = Object.assign(document.createElement('input'), {
    type: 'radio', name: 'city', value: each, checked: each === city,
  });
  choice.addEventListener('change', () => {
    socket.emit('leave-room', { room: `city:${city}` });
    city = each;
    enter(city);
    filter();
  });
  label.append(choice, each || 'All cities');
  find('#cities').append(label);
}

find('#sample').addEventListener('click', async () => {
  const fields = new URLSearchParams(city ? { city } : {});
  const answer = await fetch('sample', { method: 'POST', body: fields }).catch(() => undefined);
  if (!answer?.ok) {
    tell('The back end did not take it.', 'error');
  }
});

setInterval(() => {
  find('#offline-for').textContent = offlineSince ? ` (${duration(secondsSince(offlineSince))})` : '';
  document.querySelectorAll('[data-running]').forEach((item) => {
    item.querySelector('time').textContent = duration(secondsSince(item.dataset.running));
  });
}, 1_000);

async function signIn() {
  // A tab is one operator, also when it is loaded again.
  if (!sessionStorage.session) {
    const answer = await fetch('session', { method: 'POST', body: new URLSearchParams() });
    sessionStorage.session = await answer.text();
  }
  const session = JSON.parse(sessionStorage.session);
  const { exp } = JSON.parse(atob(session.token.split('.')[1].replaceAll('-', '+').replaceAll('_', '/')));
  if (exp * 1_000 < Date.now()) {
    delete sessionStorage.session;
    return signIn();
  }
  return session;
}

/** What happened while this desk was away comes from the back end. */
async function load() {
  try {
    const { calls, orders } = await (await fetch('state', { signal: AbortSignal.timeout(10_000) })).json();
    calls.reverse().forEach((call) => put('calls', call));
    orders.reverse().forEach((order) => put('orders', order));
  } catch {
    tell('The back end does not answer: older calls and orders are missing.', 'error');
  }
  held?.splice(0).forEach(([kind, changes]) => put(kind, changes));
  held = undefined;
}

function hear(kind, changes) {
  if (held) {
    held.push([kind, changes]);
  } else {
    put(kind, changes);
  }
}

function enter(chosen) {
  if (chosen) {
    socket.emit('join-room', { room: `city:${chosen}` });
  }
}

/** Shows a call or an order, or what has changed in it. */
function put(kind, changes) {
  const list = lists[kind];
  const known = list.get(changes.id);
  const thing = { ...known?.thing, ...changes };
  const item = known?.item ?? find('#call').content.firstElementChild.cloneNode(true);
  list.set(thing.id, { thing, item });
  show(item, thing);
  if (!known) {
    find(`#${kind}`).prepend(item);
  }
  for (const [id, old] of list) {
    if (list.size <= KEPT) {
      break;
    }
    old.item.remove();
    list.delete(id);
  }
  filter();
}

function show(item, thing) {
  const status = thing.status ?? thing.statusOrder;
  const text = (selector, value) => {
    item.querySelector(selector).textContent = value ?? '';
  };
  item.dataset.status = status;
  text('.status', STATUS[status] ?? status);
  text('.who', thing.phoneClient ?? thing.clientName);
  text('.place', thing.city);
  text('.note', thing.problem ?? (thing.operator && `with ${thing.operator}`));
  const running = { ringing: thing.startedAt, answered: thing.answeredAt }[status];
  if (running) {
    item.dataset.running = running;
  } else {
    delete item.dataset.running;
  }
  const seconds = running ? secondsSince(running) : thing.duration;
  text('time', seconds === undefined ? clock(thing.createdAt ?? thing.startedAt) : duration(seconds));
}

function filter() {
  for (const list of Object.values(lists)) {
    for (const { thing, item } of list.values()) {
      item.hidden = city !== '' && thing.city !== city;
    }
  }
  const ringing = [...lists.calls.values()].filter(({ thing, item }) => thing.status === 'ringing' && !item.hidden);
  find('#ringing').textContent = ringing.length > 0 ? `${ringing.length} ringing` : '';
  document.title = ringing.length > 0 ? `(${ringing.length}) Call centre` : 'Call centre';
}

function tell(message, severity = 'info') {
  find('#news').textContent = message;
  find('#news').dataset.severity = severity;
}

function showState(state, text) {
  find('#state').dataset.state = state;
  find('#state [role=status]').textContent = text;
  find('#offline-for').textContent = '';
}

function secondsSince(time) {
  return Math.max(0, Math.round((Date.now() - new Date(time)) / 1_000));
}

function duration(seconds) {
  return `${Math.floor(seconds / 60)}:${String(seconds % 60).padStart(2, '0')}`;
}

function clock(time) {
  return time ? new Date(time).toLocaleTimeString([], { hour: '2-digit', minute: '2-digit', second: '2-digit', hourCycle: 'h23' }) : '';
}
