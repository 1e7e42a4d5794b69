// The chat in the page: stock pusher-js and the DOM.

const TYPING_MS = 3_000;

const name = sessionStorage.name ?? prompt('Your name?') ?? '';
sessionStorage.name = name;
const session = await (await fetch('session', { method: 'POST', body: new URLSearchParams({ name }) })).json();
const { token, user, dialog, realtimePort } = session;
const authorization = { Authorization: `Bearer ${token}` };
const server = `http://${location.hostname}:${realtimePort}`;

const pusher = new Pusher('app-key', {
  wsHost: location.hostname,
  wsPort: realtimePort,
  forceTLS: false,
  enabledTransports: ['ws'],
  cluster: '',
  channelAuthorization: { endpoint: `${server}/pusher/auth`, headersProvider: () => authorization },
});

// What belongs to this user, from RabbitMQ.
const mine = pusher.subscribe(`private-user;${user.userId}`);
mine.bind('pusher:subscription_succeeded', fetchMessages);
mine.bind('message:new', show);
mine.bind('message:update', ({ data }) => change(data));
mine.bind('chat3:update', ({ truncated }) => truncated && fetchMessages());

// Who is here and who types, without the back end.
const room = pusher.subscribe(`presence-dialog;${dialog}`);
for (const event of ['pusher:subscription_succeeded', 'pusher:member_added', 'pusher:member_removed']) {
  room.bind(event, showPeople);
}
let typist;
room.bind('client-typing:start', (_data, { user_id: userId }) => {
  const { info } = room.members.get(userId) ?? {};
  document.querySelector('#typing').textContent = `${info?.name ?? 'Somebody'} is typing`;
  clearTimeout(typist);
  typist = setTimeout(noTyping, TYPING_MS);
});
room.bind('client-typing:stop', noTyping);

pusher.connection.bind('state_change', ({ current }) => {
  const state = document.querySelector('#state');
  state.textContent = current;
  state.dataset.state = current;
});

const form = document.querySelector('#form');
let lastTyped = 0;
form.addEventListener('input', () => {
  if (Date.now() - lastTyped > TYPING_MS / 2 && room.subscribed) {
    lastTyped = Date.now();
    room.trigger('client-typing:start', { dialogId: dialog });
  }
});
form.addEventListener('submit', async (event) => {
  event.preventDefault();
  const text = form.elements.text.value;
  form.reset();
  lastTyped = 0;
  if (room.subscribed) {
    room.trigger('client-typing:stop', { dialogId: dialog });
  }
  await post('messages', { text });
});

const shown = new Map();

async function fetchMessages() {
  const answer = await fetch('messages', { headers: authorization });
  (await answer.json()).messages.forEach(show);
}

function show(message) {
  if (shown.has(message._id)) {
    change({ messageId: message._id, ...message });
    return;
  }
  const { firstElementChild: item } = document.querySelector('#message').content.cloneNode(true);
  item.querySelector('.sender').textContent = message.senderName;
  item.querySelector('.content').textContent = message.content;
  item.querySelector('.react').addEventListener('click', () =>
    post('reactions', { messageId: message._id, reaction: '👍' }),
  );
  item.classList.toggle('mine', message.senderId === user.userId);
  shown.set(message._id, item);
  document.querySelector('#messages').append(item);
  item.scrollIntoView({ block: 'nearest' });
  change({ messageId: message._id, ...message });
  if (message.senderId === user.userId) {
    item.querySelector('.ticks').textContent ||= '✓';
  } else {
    post('read', { messageId: message._id });
  }
}

function change({ messageId, reactions, readBy }) {
  const item = shown.get(messageId);
  if (!item) {
    return;
  }
  if (reactions) {
    item.querySelector('.reactions').textContent = Object.values(reactions).join(' ');
  }
  if (readBy?.length && item.classList.contains('mine')) {
    const ticks = item.querySelector('.ticks');
    ticks.textContent = '✓✓';
    ticks.title = `read by ${readBy.length}`;
  }
}

function showPeople() {
  const people = document.querySelector('#people');
  people.replaceChildren();
  room.members.each(({ info }) => {
    const item = document.createElement('li');
    item.textContent = info.name;
    people.append(item);
  });
}

function noTyping() {
  document.querySelector('#typing').textContent = '';
}

async function post(path, fields) {
  await fetch(path, { method: 'POST', headers: authorization, body: new URLSearchParams(fields) });
}
