// The order board in the page: stock pusher-js and the DOM.

const TYPING_SHOWN_MS = 2_000;
const TYPING_SENT_EVERY_MS = 1_000;

const settings = await (await fetch('settings')).json();
const me = nameOfThisTab();

const pusher = new Pusher(settings.key, {
  // With pusher.com these two lines would read: cluster: 'eu',
  wsHost: settings.host, wsPort: settings.port, forceTLS: false,
  enabledTransports: ['ws'], cluster: '',
  channelAuthorization: { endpoint: 'pusher/auth', params: { user: me } },
});

// The state of the connection.
pusher.connection.bind('state_change', ({ current }) => {
  document.querySelector('#state').textContent = current;
  document.querySelector('#state').dataset.state = current;
});

// Orders. What happened while this page was not connected is in the list that it
// loads after each subscription; what happens then comes as events.
const orders = pusher.subscribe('orders');
orders.bind('pusher:subscription_succeeded', async () => {
  const list = await (await fetch('orders')).json();
  list.reverse().forEach(show);
});
orders.bind('order.created', show);
orders.bind('order.served', show);

function show(order) {
  const board = document.querySelector('#orders');
  let card = document.querySelector(`#order-${order.id}`);
  if (!card) {
    card = document.querySelector('#order').content.firstElementChild.cloneNode(true);
    card.id = `order-${order.id}`;
    card.querySelector('button').onclick = () => post('served', { id: order.id });
    board.prepend(card);
  }
  card.querySelector('.number').textContent = `#${order.id}`;
  card.querySelector('.dish').textContent = order.dish;
  card.querySelector('.table').textContent = `Table ${order.table}`;
  card.classList.toggle('served', order.isServed);
}

// People: a presence channel knows who else has the page open.
const board = pusher.subscribe('presence-board');
for (const event of ['subscription_succeeded', 'member_added', 'member_removed']) {
  board.bind(`pusher:${event}`, showPeople);
}

function showPeople() {
  const people = [];
  board.members.each(({ id, info }) => {
    const person = document.createElement('li');
    person.textContent = info?.name ?? id;
    person.classList.toggle('me', id === board.members.myID);
    people.push(person);
  });
  document.querySelector('#people').replaceChildren(...people);
}

// Typing: a client event goes from page to page, without the back end.
let typingSent = 0;
document.querySelector('#order-form').addEventListener('input', () => {
  if (board.subscribed && Date.now() - typingSent > TYPING_SENT_EVERY_MS) {
    typingSent = Date.now();
    board.trigger('client-typing', {});
  }
});

let typingTimer;
board.bind('client-typing', (_, { user_id: user }) => {
  document.querySelector('#typing').textContent = `${user} is writing an order`;
  clearTimeout(typingTimer);
  typingTimer = setTimeout(() => {
    document.querySelector('#typing').textContent = '';
  }, TYPING_SHOWN_MS);
});

// The form posts to the back end, which triggers the event for everybody.
document.querySelector('#order-form').addEventListener('submit', async (event) => {
  event.preventDefault();
  const form = event.target;
  await post('orders', Object.fromEntries(new FormData(form)));
  form.reset();
  form.elements.table.focus();
});

async function post(path, fields) {
  const answer = await fetch(path, { method: 'POST', body: new URLSearchParams(fields) });
  if (!answer.ok) {
    alert(await answer.text());
  }
}

// Each tab is a guest of its own, and stays that when it is loaded again.
function nameOfThisTab() {
  const names = ['Ada', 'Bruno', 'Chiara', 'Deniz', 'Emil', 'Fatou', 'Greta', 'Hiro'];
  const name = names[Math.floor(Math.random() * names.length)];
  sessionStorage.name ??= `${name} ${Math.floor(Math.random() * 90) + 10}`;
  return sessionStorage.name;
}
