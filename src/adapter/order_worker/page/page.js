// Shows the queue, its workers and its orders as they change. What is there is asked of
// the API once; what happens afterwards comes over Fanfare.

const element = (id) => document.getElementById(id);
const STATES = ['waiting', 'active', 'delayed', 'failed', 'completed', 'paused'];
const FAILED = 'Ошибка:';
const NO_BALANCE = 'Недостаточно доступных заказов на балансе';
const hasFailed = ({ status }) => status.startsWith(FAILED) || status === NO_BALANCE;

const config = await (await fetch('/admin/config.json')).json();
const workers = new Map();
const orders = new Map();
let token = sessionStorage.getItem('token');
let isPaused = false;

async function api(path, method = 'GET') {
  const answer = await fetch(path, { method, headers: { Authorization: `Bearer ${token}` } });
  const body = await answer.json();
  if (!answer.ok) {
    throw new Error(body.message);
  }
  return body;
}

function say(text) {
  element('state').textContent = text;
}

function showQueue(counts) {
  element('counts').replaceChildren(
    ...STATES.map((state) => {
      const box = document.createElement('div');
      const name = document.createElement('dt');
      const count = document.createElement('dd');
      name.textContent = state;
      count.textContent = counts[state] ?? 0;
      count.id = `count-${state}`;
      box.append(name, count);
      return box;
    }),
  );
}

function showWorkers() {
  element('workers').replaceChildren(
    ...[...workers].sort().map(([name, doing]) => {
      const line = document.createElement('li');
      line.textContent = `${name}: ${doing}`;
      return line;
    }),
  );
}

function row(order, last) {
  const line = document.createElement('tr');
  line.dataset.order = order.id;
  for (const text of [order.id, order.cadNum, order.status]) {
    const cell = document.createElement('td');
    cell.textContent = text;
    line.append(cell);
  }
  const cell = document.createElement('td');
  cell.append(last);
  line.append(cell);
  return line;
}

function retryButton(order) {
  const button = document.createElement('button');
  button.type = 'button';
  button.textContent = 'Try again';
  button.addEventListener('click', async () => {
    button.disabled = true;
    try {
      await api(`/orders/${order.id}/retry`, 'POST');
      order.status = 'Добавлен в очередь';
      showOrders();
    } catch (error) {
      button.disabled = false;
      say(error.message);
    }
  });
  return button;
}

function showOrders() {
  const newest = [...orders.values()].reverse();
  const failed = newest.filter(hasFailed);
  const running = newest.filter((order) => !order.isComplete && !hasFailed(order));
  element('failed').replaceChildren(...failed.map((order) => row(order, retryButton(order))));
  element('running').replaceChildren(...running.map((order) => row(order, order.attempt ?? '')));
}

function remember(order) {
  orders.delete(order.id);
  orders.set(order.id, order);
  // The page stays open for days.
  for (const [id, old] of orders) {
    if (orders.size <= 500) {
      break;
    }
    if (old.isComplete) {
      orders.delete(id);
    }
  }
}

function showPause() {
  element('pause').hidden = false;
  element('pause').textContent = isPaused ? 'Resume the queue' : 'Pause the queue';
}

async function load() {
  const [queue, failed, running] = await Promise.all([api('/queue'), api('/orders/failed'), api('/orders/running')]);
  isPaused = queue.isPaused;
  orders.clear();
  [...failed, ...running].reverse().forEach(remember);
  showQueue(queue.counts);
  showPause();
  showOrders();
}

function script(url) {
  return new Promise((resolve, reject) => {
    const tag = document.createElement('script');
    tag.src = url;
    tag.onload = resolve;
    tag.onerror = () => reject(new Error(`${url} cannot be loaded`));
    document.head.append(tag);
  });
}

async function listen() {
  if (!config.key) {
    say('signed in; no news: PUSHER_APP_ID is not set');
    return;
  }
  await script(config.pusherJs);
  const { hostname, port, protocol } = new URL(config.url);
  const isSecure = protocol === 'https:';
  const pusher = new window.Pusher(config.key, {
    cluster: '',
    wsHost: hostname,
    wsPort: Number(port || 80),
    wssPort: Number(port || 443),
    forceTLS: isSecure,
    enabledTransports: ['ws', 'wss'],
    disableStats: true,
    channelAuthorization: {
      endpoint: `${config.url}/pusher/auth`,
      headers: { Authorization: `Bearer ${token}` },
    },
  });
  pusher.connection.bind('state_change', ({ current }) => say(current === 'connected' ? 'subscribing' : current));
  const seen = pusher.subscribe('private-rosreestr-orders');
  seen.bind('pusher:subscription_succeeded', () => load().catch((error) => say(error.message)));
  seen.bind('pusher:subscription_error', ({ status }) => say(`refused (${status})`));
  seen.bind('order.status_changed', (order) => {
    remember({ ...order, id: order.orderId });
    showOrders();
  });
  const house = pusher.subscribe('private-rosreestr-workers');
  const doing = {
    'worker.up': () => 'idle',
    'worker.idle': () => 'idle',
    'worker.busy': ({ jobId }) => `job ${jobId}`,
    'worker.down': () => 'gone',
  };
  for (const [event, what] of Object.entries(doing)) {
    house.bind(event, (data) => {
      workers.set(data.rosreestrUserName, what(data));
      showWorkers();
    });
  }
  for (const channel of [seen, house]) {
    channel.bind('pusher:subscription_succeeded', () => {
      if (seen.subscribed && house.subscribed) {
        say('live');
      }
    });
  }
  house.bind('queue.counts', showQueue);
  house.bind('alert', ({ failed, minutes }) => {
    element('alert').hidden = false;
    element('alert').textContent = `${failed} jobs have failed in ${minutes} minutes`;
  });
}

async function enter() {
  try {
    await load();
  } catch (error) {
    sessionStorage.removeItem('token');
    say(error.message);
    return;
  }
  sessionStorage.setItem('token', token);
  element('sign-in').hidden = true;
  element('board').hidden = false;
  say('signed in');
  await listen().catch((error) => say(error.message));
}

element('enter').addEventListener('click', () => {
  token = element('token').value.trim();
  enter();
});
element('pause').addEventListener('click', async () => {
  const { isPaused: now, counts } = await api(isPaused ? '/queue/resume' : '/queue/pause', 'POST');
  isPaused = now;
  showQueue(counts);
  showPause();
});
if (token) {
  enter();
}
