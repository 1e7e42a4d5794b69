// What servers, back ends and pages may hand in without breaking a socket. The
// events are published through the real server, whatever their data is.

import assert from 'node:assert/strict';
import { test } from 'node:test';

import { tokenOf } from './support/back_end.mjs';
import { startSite } from './support/site.mjs';

const ANN = { sub: '7', role: 'operator' };

/** `socket` is as good as ever: it still hears, once. */
async function stillWorks(ears, sdk) {
  await sdk.trigger('private-operators', 'call:ended', { id: 9 });
  assert.deepEqual(await ears.next('call:ended'), [{ id: 9 }]);
  assert.equal(ears.socket.connected, true);
}

async function inOperators(t) {
  const site = await startSite(t);
  const ann = site.openAs(ANN, { defaultRooms: () => [] });
  await ann.socket.emitWithAck('join-room', { room: 'operators' });
  return { ...site, ann };
}

test('data of any shape is told as it is', async (t) => {
  const { sdk, ann } = await inOperators(t);
  const data = ['', 'text', 'null', '7', '[1]', '{', '{"_eid":7}', '{"_eid":{}}', '"\\u0000"', '{"__proto__":{"x":1}}'];

  for (const each of data) {
    await sdk.trigger('private-operators', 'call:new', each);
  }

  const heard = await ann.all('call:new');
  const expected = ['', 'text', null, 7, [1], '{', { _eid: 7 }, { _eid: {} }, '\0', JSON.parse('{"__proto__":{"x":1}}')];
  assert.deepEqual(heard, expected.map((each) => [each]));
  assert.equal({}.x, undefined);
  await stillWorks(ann, sdk);
});

test('a server cannot pass for the connection itself', async (t) => {
  const { sdk, ann } = await inOperators(t);
  await ann.next('connect');

  for (const event of ['connect', 'disconnect', 'connect_error', '__proto__', 'constructor', 'hasOwnProperty']) {
    await sdk.trigger('private-operators', event, { forged: true });
  }

  await stillWorks(ann, sdk);
  for (const event of ['connect', 'disconnect', 'connect_error']) {
    assert.deepEqual(await ann.all(event), []);
  }
  assert.deepEqual(await ann.all('__proto__'), [[{ forged: true }]]);
});

test('listeners and callbacks of the page that throw harm nobody', async (t) => {
  const { sdk, ann } = await inOperators(t);
  const reported = t.mock.method(console, 'error', () => {});
  const broken = () => {
    throw new Error('of the page');
  };
  ann.socket.on('call:ended', broken).onAny(broken);
  ann.socket.emit('leave-room', { room: 'other' }, broken);

  await stillWorks(ann, sdk);

  assert.ok(reported.mock.callCount() >= 3);
});

test('rooms, events and data of the wrong kind are refused and told', async (t) => {
  const { sdk, ann } = await inOperators(t);
  const circular = {};
  circular.self = circular;
  const wrong = [
    ['join-room'],
    ['join-room', null],
    ['join-room', 7],
    ['join-room', { room: {} }],
    ['join-room', { room: ['operators'] }],
    ['join-room', { room: 'я'.repeat(100) }],
    ['join-room', { room: '\ud800' }],
    ['join-room', { get room() { throw new Error('of the page'); } }],
    ['leave-room', Symbol('room')],
    ['dialog:join', {}],
    ['register_display', { displayId: {}, filters: [] }],
    ['register_display', { displayId: 'a', filters: circular }],
    ['register_display', { displayId: Symbol('a') }],
    ['update_filters', {}],
    ['cursor', { room: 'operators', circular }],
    ['cursor', { room: 'nowhere' }],
    ['cursor', { room: 'operators', big: 7n }],
    ['connect'],
    [undefined],
    [Symbol('event')],
    [{}, {}],
  ];

  for (const values of wrong) {
    const answer = await ann.socket.emitWithAck(...values);
    assert.equal(answer.success, false);
    assert.equal(typeof answer.message, 'string');
  }

  for (const event of ['__proto__', 'constructor', 'toString']) {
    assert.equal((await ann.socket.emitWithAck(event, { room: 'operators' })).success, true);
  }
  await stillWorks(ann, sdk);
});

test('wishes that wait are bounded', async (t) => {
  const { backEnd, openAs } = await startSite(t);
  const ann = openAs(ANN, { defaultRooms: () => [] });
  await ann.next('connected');
  backEnd.refuse.push(503);
  const wishes = Array.from({ length: 150 }, () => ann.socket.emitWithAck('join-room', { room: 'operators' }));

  const answers = await Promise.all(wishes);

  assert.equal(answers.filter(({ success }) => success).length, 100);
  const late = openAs(ANN, { autoConnect: false });
  const early = Array.from({ length: 150 }, () => late.socket.emitWithAck('ping'));
  late.socket.connect();
  assert.match((await early.at(-1)).message, /100 events wait/);
});

test('an endpoint that answers nonsense lets nobody in', async (t) => {
  const { openAs } = await startSite(t);
  const nonsense = ['', 'null', '[]', '{', '<html>', '{}', '{"auth":7}', '{"auth":"a","channel_data":"{"}', '{"auth":"a","channel_data":7}'];

  for (const evil of nonsense) {
    const ann = openAs({ ...ANN, evil }, { defaultRooms: () => [] });
    const answer = await ann.socket.emitWithAck('join-room', { room: 'online' });
    assert.equal(answer.success, false, evil);
    assert.equal(ann.socket.connected, true);
    ann.socket.disconnect();
  }
});

test('a sign-in that is nonsense, or signed with another secret, is refused and told', async (t) => {
  const { open } = await startSite(t);
  const forged = { auth: `app-key:${'0'.repeat(64)}`, user_data: '{"id":"7"}' };
  const answers = ['null', '{"auth":"a"}', '{"auth":"a","user_data":"7"}', '{"auth":"a","user_data":"{\\"id\\":[]}"}', forged];

  for (const evilUser of answers) {
    const ann = open();
    await ann.next('connect');
    const answer = await ann.socket.emitWithAck('authenticate', { token: tokenOf({ ...ANN, evilUser }) });
    assert.equal(answer.success, false, JSON.stringify(evilUser));
    await ann.next('connect_error');
    ann.socket.disconnect();
  }
});
