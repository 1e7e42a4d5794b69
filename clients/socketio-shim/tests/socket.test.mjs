// The translation table, row by row, on a real Fanfare with real pusher-js.

import assert from 'node:assert/strict';
import { test } from 'node:test';

import { eventually } from '../../../tests/sdk/support/within.mjs';
import { tokenOf } from './support/back_end.mjs';
import { startSite } from './support/site.mjs';

const ANN = { sub: '7', role: 'operator', name: 'Ann' };
const DORA = { sub: '1', role: 'director', name: 'Dora' };

test('a socket connects, has an id and is greeted', async (t) => {
  const { open } = await startSite(t);
  const ann = open({ greeting: 'Connected to STO Queue Gateway' });
  assert.equal(ann.socket.connected, false);
  assert.equal(ann.socket.active, true);

  await ann.next('connect');

  assert.equal(ann.socket.connected, true);
  assert.match(ann.socket.id, /^\d+\.\d+$/);
  const [greeting] = await ann.next('connected');
  assert.deepEqual(greeting, { message: 'Connected to STO Queue Gateway', socketId: ann.socket.id });
});

test('with a token the greeting names the user, and the role opens rooms', async (t) => {
  const { sdk, openAs } = await startSite(t);
  const ann = openAs(ANN);
  const dora = openAs(DORA);
  const [[greeting], [authenticated]] = [await ann.next('connected'), await ann.next('authenticated')];
  const { id: socketId } = ann.socket;
  assert.deepEqual(greeting, { message: 'Connected', userId: '7', role: 'operator', name: 'Ann', socketId });
  const rooms = ['all', 'online', 'role:operator', 'operators'];
  assert.deepEqual(authenticated, { userId: '7', role: 'operator', name: 'Ann', socketId, rooms });
  await eventually(() => ann.socket.rooms.length === 4 && dora.socket.rooms.length === 4, 'the rooms of both roles');
  assert.deepEqual(dora.socket.rooms.sort(), ['all', 'directors', 'online', 'role:director']);

  await sdk.trigger(['private-operators'], 'call:new', { id: 1 });
  await sdk.trigger(['private-directors'], 'order:new', { id: 2 });
  await sdk.trigger(['private-all'], 'notification', { message: 'hello' });
  await sdk.sendToUser('7', 'notification', { message: 'only you' });

  assert.deepEqual(await ann.next('call:new'), [{ id: 1 }]);
  assert.deepEqual(await dora.next('order:new'), [{ id: 2 }]);
  assert.deepEqual(await ann.next('notification'), [{ message: 'hello' }]);
  assert.deepEqual(await ann.next('notification'), [{ message: 'only you' }]);
  assert.deepEqual(await ann.all('order:new'), []);
  assert.equal((await dora.all('notification')).length, 1);
});

test('a token without a role is of the chat, and opens the own room', async (t) => {
  const { sdk, openAs } = await startSite(t);
  const ann = openAs({ sub: 'usr_a3f9k2p1' });
  await eventually(() => ann.socket.rooms.includes('user:usr_a3f9k2p1'), 'the own room');

  await sdk.trigger('private-user;usr_a3f9k2p1', 'chat3:update', { eventType: 'message.create' });

  assert.deepEqual(await ann.next('chat3:update'), [{ eventType: 'message.create' }]);
});

test('authenticate signs in with the token that it brings, as often as it takes', async (t) => {
  const { open } = await startSite(t);
  const ann = open();
  await ann.next('connected');

  const refused = await ann.socket.emitWithAck('authenticate', { token: tokenOf(ANN, 'another secret') });
  const accepted = await ann.socket.emitWithAck('authenticate', { token: tokenOf(ANN) });

  assert.deepEqual(refused, { success: false, message: 'no valid token', status: 401 });
  const [error] = await ann.next('connect_error');
  assert.deepEqual([error.message, error.data], ['no valid token', { status: 401 }]);
  assert.deepEqual(accepted, { success: true, userId: '7', role: 'operator' });
  assert.equal((await ann.next('authenticated'))[0].userId, '7');
});

test('auth may be a function that finds the token later', async (t) => {
  const { open } = await startSite(t);
  let asked = 0;
  const auth = (tell) => {
    asked += 1;
    setImmediate(() => tell({ token: tokenOf(ANN) }));
  };
  const ann = open({ auth });

  const [greeting] = await ann.next('connected');

  assert.equal(greeting.userId, '7');
  assert.equal(asked, 1);
});

test('join-room and leave-room, with what the callback is told', async (t) => {
  const { sdk, openAs } = await startSite(t);
  const ann = openAs(ANN, { defaultRooms: () => [] });
  const room = 'city:Саратов';
  const channel = 'private-city;=0KHQsNGA0LDRgtC-0LI';

  const joined = await ann.socket.emitWithAck('join-room', { room });
  await sdk.trigger(channel, 'order:new', { id: 1 });
  assert.deepEqual(await ann.next('order:new'), [{ id: 1 }]);
  const again = await ann.socket.emitWithAck('join-room', room);
  const left = await ann.socket.emitWithAck('leave-room', { room });
  await sdk.trigger(channel, 'order:new', { id: 2 });

  assert.deepEqual(joined, { success: true, room, message: `Joined room ${room}` });
  assert.deepEqual(again, joined);
  assert.deepEqual(left, { success: true, room, message: `Left room ${room}` });
  assert.deepEqual(await ann.all('order:new'), []);
  assert.equal((await ann.socket.emitWithAck('join-room', { room })).success, true);
});

test('a room that is refused is told, and can be asked for again', async (t) => {
  const { openAs } = await startSite(t);
  const ann = openAs(ANN, { defaultRooms: () => [] });
  await ann.next('authenticated');

  const refused = await ann.socket.emitWithAck('join-room', { room: 'directors' });
  ann.socket.emit('join-room', { room: 'operator:8' });
  const [complaint] = await ann.next('error');
  const another = await ann.socket.emitWithAck('authenticate', { token: tokenOf(DORA) });
  ann.socket.disconnect();
  ann.socket.connect();
  const accepted = await ann.socket.emitWithAck('join-room', { room: 'directors' });

  assert.deepEqual(refused, { success: false, message: 'not your room', status: 403 });
  assert.equal(complaint.message, 'join-room: not your room');
  assert.equal(another.message, 'signed in as somebody else; disconnect first');
  assert.equal(accepted.success, true);
});

test('the server refuses what is signed with another secret, and the room is free again', async (t) => {
  const { backEnd, openAs } = await startSite(t);
  const evil = { auth: `app-key:${'0'.repeat(64)}` };
  const ann = openAs({ ...ANN, evil }, { defaultRooms: () => [] });

  const first = await ann.socket.emitWithAck('join-room', { room: 'operators' });
  const second = await ann.socket.emitWithAck('join-room', { room: 'operators' });

  assert.equal(first.success, false);
  assert.equal(second.success, false);
  assert.equal(backEnd.asked.filter(({ path }) => path === '/pusher/auth').length, 2);
});

test('an endpoint that is away for a moment is asked again', async (t) => {
  const { backEnd, open } = await startSite(t);
  const ann = open();
  await ann.next('connect');
  ann.socket.auth = { token: tokenOf(ANN) };
  backEnd.refuse.push(503, 502);

  const joined = await ann.socket.emitWithAck('join-room', { room: 'operators' });

  assert.equal(joined.success, true);
  assert.equal(backEnd.asked.length, 3);
});

test('an event for several rooms arrives once, like in Socket.IO', async (t) => {
  const { sdk, openAs } = await startSite(t);
  const ann = openAs(ANN);
  await ann.socket.emitWithAck('join-room', { room: 'operators' });
  await ann.socket.emitWithAck('join-room', { room: 'city:Saratov' });
  const channels = ['private-operators', 'private-city;Saratov'];

  await sdk.trigger(channels, 'order:new', { id: 1, _eid: '01JD0000000000000000000001' });
  await sdk.trigger(channels, 'order:new', { id: 2, _eid: '01JD0000000000000000000002' });
  await sdk.trigger(channels, 'order:new', { id: 3 });

  assert.deepEqual(await ann.all('order:new'), [[{ id: 1 }], [{ id: 2 }], [{ id: 3 }], [{ id: 3 }]]);
});

test('emit of anything else goes to the others in the room, under its own name if that is agreed', async (t) => {
  const { openAs } = await startSite(t);
  const clientEvents = ['typing:start', 'cursor'];
  const ann = openAs(ANN, { defaultRooms: () => [], clientEvents });
  const bob = openAs({ ...ANN, sub: '8' }, { defaultRooms: () => [], clientEvents });
  await bob.socket.emitWithAck('dialog:join', '507f1f77bcf86cd799439012');
  ann.socket.emit('dialog:join', '507f1f77bcf86cd799439012');

  // Waits until the room is open, as it is the only one.
  assert.deepEqual(await ann.socket.emitWithAck('cursor', { x: 1 }), { success: true });
  ann.socket.emit('typing:start', { dialogId: '507f1f77bcf86cd799439012' });
  ann.socket.emit('call:new', { room: 'dialog:507f1f77bcf86cd799439012' });

  assert.deepEqual(await bob.next('cursor'), [{ x: 1 }]);
  assert.deepEqual(await bob.next('client-cursor'), [{ x: 1 }]);
  assert.deepEqual(await bob.next('typing:start'), [{ dialogId: '507f1f77bcf86cd799439012' }]);
  // What is the server's to say cannot be said by a client.
  await bob.next('client-call:new');
  assert.deepEqual(await bob.all('call:new'), []);
  assert.deepEqual(await ann.all('client-cursor'), []);
  await ann.socket.emitWithAck('join-room', { room: 'operators' });
  const nobody = await ann.socket.emitWithAck('cursor', { x: 2 });
  assert.equal(nobody.message, 'nobody to send it to: name a room as { room: … }');
});

test('register_display enters with its filters, hears its queue, and changes them', async (t) => {
  const { sdk, backEnd, open } = await startSite(t);
  const display = open();
  const other = open();
  const registration = { displayId: 'DISPLAY-001', filters: { zones: ['RECEPTION', 'WORKSHOP'], showBlocked: false } };

  const registered = await display.socket.emitWithAck('register_display', registration);
  await sdk.trigger('presence-sto-display;DISPLAY-001', 'queue_update', { totalCount: 0, orders: [] });
  await display.next('queue_update');
  await other.socket.emitWithAck('register_display', registration);
  await other.socket.emitWithAck('update_filters', { zones: ['BODYWORK'] });

  assert.equal(registered.success, true);
  const { fields } = backEnd.asked[0];
  assert.equal(fields.channel_name, 'presence-sto-display;DISPLAY-001');
  assert.deepEqual(JSON.parse(fields.filters), registration.filters);
  assert.deepEqual(await display.next('client-update_filters'), [{ zones: ['BODYWORK'] }]);
  const changed = { ...registration, filters: { zones: [] } };
  assert.equal((await display.socket.emitWithAck('register_display', changed)).success, true);
  assert.equal(backEnd.asked.at(-1).fields.filters, '{"zones":[]}');
  assert.equal((await display.socket.emitWithAck('unregister_display', { displayId: 'DISPLAY-001' })).success, true);
  assert.deepEqual(display.socket.rooms, []);
});

test('register_mechanic enters the mechanics and the zone, or all orders', async (t) => {
  const { sdk, open } = await startSite(t);
  const [one, two] = [open(), open()];

  await one.socket.emitWithAck('register_mechanic', { mechanicId: 7, zone: 'workshop' });
  await two.socket.emitWithAck('register_mechanic', { mechanicId: 8 });
  await sdk.trigger(['private-sto-zone;workshop', 'private-sto-orders'], 'new_order', { order: {} });

  assert.deepEqual(one.socket.rooms, ['sto-mechanics', 'sto-zone:workshop']);
  assert.deepEqual(two.socket.rooms, ['sto-mechanics', 'sto-orders']);
  await one.next('new_order');
  await two.next('new_order');
});

test('ping is answered', async (t) => {
  const { open } = await startSite(t);
  const ann = open();
  await ann.next('connect');

  const { event, timestamp } = await ann.socket.emitWithAck('ping');

  assert.equal(event, 'pong');
  assert.ok(Number.isFinite(Date.parse(timestamp)));
});

test('disconnect leaves everything; connect begins anew', async (t) => {
  const { sdk, openAs } = await startSite(t);
  const ann = openAs(ANN);
  await ann.socket.emitWithAck('join-room', { room: 'city:Saratov' });
  await ann.next('connected');

  ann.socket.disconnect();
  const [reason] = await ann.next('disconnect');
  assert.equal(reason, 'io client disconnect');
  assert.deepEqual([ann.socket.connected, ann.socket.active, ann.socket.id], [false, false, undefined]);
  assert.deepEqual(await ann.socket.emitWithAck('ping'), { success: false, message: 'not connected' });
  ann.socket.connect();
  await ann.next('authenticated');
  await ann.socket.emitWithAck('join-room', { room: 'operators' });
  await sdk.trigger('private-city;Saratov', 'order:new', {});

  assert.deepEqual(await ann.all('order:new'), []);
});

test('after a connection that broke the socket is in its rooms again', async (t) => {
  const { sdk, openAs, cut } = await startSite(t);
  const ann = openAs(ANN);
  await ann.socket.emitWithAck('join-room', { room: 'city:Saratov' });
  await ann.next('authenticated');
  await ann.next('connect');
  const { id } = ann.socket;

  cut();
  const [reason, details] = await ann.next('disconnect');
  assert.deepEqual([reason, details.data.code, ann.socket.rooms], ['transport close', 1006, []]);
  await ann.next('connect');
  assert.equal((await ann.next('authenticated'))[0].userId, '7');
  await ann.socket.emitWithAck('join-room', { room: 'city:Saratov' });
  await sdk.trigger('private-city;Saratov', 'order:new', { id: 1 });

  assert.notEqual(ann.socket.id, id);
  assert.deepEqual(await ann.next('order:new'), [{ id: 1 }]);
  await eventually(() => ann.socket.rooms.includes('operators'), 'the rooms of the role');
});

test('a server that stops is told with its reason', async (t) => {
  const { server, openAs } = await startSite(t);
  const ann = openAs(ANN);
  await ann.next('connect');

  await server.stop();

  const [reason, details] = await ann.next('disconnect');
  assert.deepEqual([reason, details.data.code], ['transport close', 4200]);
  assert.equal(ann.socket.active, true);
});

test('a server that says no for good is told and not asked again', async (t) => {
  const { sdk, open, openAs } = await startSite(t);
  const stranger = open({ key: 'unknown' });
  const ann = openAs(ANN);
  await ann.next('authenticated');

  await sdk.terminateUserConnections('7');

  assert.equal((await stranger.next('connect_error'))[0].data.code, 4001);
  assert.equal(stranger.socket.active, false);
  const [reason, details] = await ann.next('disconnect');
  assert.deepEqual([reason, details.data.code], ['io server disconnect', 4009]);
  assert.equal(ann.socket.active, false);
});

test('a server that is not there is told', async (t) => {
  const { server, open } = await startSite(t);
  await server.stop();

  const ann = open({ pusher: { unavailableTimeout: 100 } });

  const [error] = await ann.next('connect_error');
  assert.match(error.message, /the server at http:\/\/127\.0\.0\.1:\d+ is unavailable/);
  assert.equal(ann.socket.active, true);
});

test('client events over the rate are told as an error', async (t) => {
  const { open } = await startSite(t, { limits: 'client_events_per_second = 1' });
  const mechanic = open();
  await mechanic.socket.emitWithAck('register_mechanic', { mechanicId: 7 });

  for (let count = 0; count < 5; count += 1) {
    mechanic.socket.emit('shout', { room: 'sto-orders' });
  }

  assert.equal((await mechanic.next('error'))[0].data.code, 4301);
  assert.equal(mechanic.socket.connected, true);
});

test('without autoConnect what is emitted waits for connect()', async (t) => {
  const { open } = await startSite(t);
  const mechanic = open({ autoConnect: false });
  const registered = mechanic.socket.emitWithAck('register_mechanic', { mechanicId: 7 });

  mechanic.socket.connect();

  assert.equal((await registered).success, true);
});
