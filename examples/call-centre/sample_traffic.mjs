// Calls and orders as they come on an ordinary day, somewhat faster.

export const CITIES = ['Саратов', 'Энгельс', 'Ростов-на-Дону', 'Пенза'];

const CLIENTS = ['Irina Volkova', 'Pavel Sokolov', 'Olga Orlova', 'Timur Aliev', 'Nina Belova', 'Egor Zaitsev'];
const PROBLEMS = ['Washing machine leaks', 'Fridge does not cool', 'Oven door is stuck', 'Dishwasher stops', 'Boiler is cold'];
const OPERATORS = ['Ann', 'Boris', 'Vera', 'Gleb'];
const BETWEEN_CALLS_MS = 4_000;
const MAX_RINGING_MS = 6_000;
const MAX_TALK_MS = 20_000;

export function sampleCall(city = anyOf(CITIES)) {
  const number = Math.floor(Math.random() * 10_000_000);
  const startedAt = new Date().toISOString();
  // Personal data: the desk gets what it shows and no more.
  return { phoneClient: `+7 9•• •••-${String(number).slice(-4).padStart(4, '0')}`, city, status: 'ringing', startedAt };
}

export function sampleOrder(city = anyOf(CITIES)) {
  return { clientName: anyOf(CLIENTS), city, problem: anyOf(PROBLEMS), statusOrder: 'new', createdAt: new Date().toISOString() };
}

/** Goes on until the process ends. What fails is said and not repeated. */
export async function play(actions) {
  for (;;) {
    live(actions).catch((error) => console.error(`sample traffic: ${error.message}`));
    await pause(BETWEEN_CALLS_MS * (0.5 + Math.random()));
  }
}

/** One call: it rings, somebody answers, often an order comes of it. */
async function live(actions) {
  const call = await actions.newCall(sampleCall());
  await pause(MAX_RINGING_MS * Math.random());
  if (Math.random() < 0.15) {
    await actions.updateCall(call, { status: 'missed' });
    await actions.notify(`A call from ${call.city} was missed.`, 'warning');
    return;
  }
  await actions.updateCall(call, { status: 'answered', operator: anyOf(OPERATORS), answeredAt: new Date().toISOString() });
  await pause(MAX_TALK_MS * Math.random());
  const duration = Math.round((Date.now() - Date.parse(call.answeredAt)) / 1_000);
  await actions.updateCall(call, { status: 'ended', duration });
  if (Math.random() < 0.7) {
    await actions.newOrder(sampleOrder(call.city));
  }
}

function anyOf(list) {
  return list[Math.floor(Math.random() * list.length)];
}

function pause(ms) {
  return new Promise((resolve) => setTimeout(resolve, ms));
}
