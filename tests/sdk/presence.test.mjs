// Presence channels: who is there, who comes, who leaves.

import assert from 'node:assert/strict';
import { test } from 'node:test';

import { asUser, startBackEnd } from './support/back_end.mjs';
import { Ears, PUSHER_JS, connect, json, serverSdk, settled, subscribe } from './support/clients.mjs';
import { startServer } from './support/server.mjs';
import { emitted } from './support/within.mjs';

async function kitchen(t, backEndOptions, serverOptions) {
  const server = await startServer(t, serverOptions);
  const sdk = serverSdk(server);
  const backEnd = await startBackEnd(t, sdk, backEndOptions);
  const enter = async (user, more) => {
    const pusher = await connect(t, server, { ...asUser(backEnd, user), ...more });
    const channel = await subscribe(pusher, 'presence-kitchen');
    return { pusher, channel, ears: new Ears(channel) };
  };
  return { server, sdk, backEnd, enter };
}

function names(channel) {
  const all = [];
  channel.members.each(({ id }) => all.push(id));
  return all.sort();
}

for (const version of Object.keys(PUSHER_JS)) {
  test(`pusher-js ${version} sees itself, others coming and others leaving (63, 69, 72)`, async (t) => {
    const { enter } = await kitchen(t);

    const ann = await enter('ann', { version });
    assert.equal(ann.channel.members.count, 1);
    assert.deepEqual(ann.channel.members.me, { id: 'ann', info: { name: 'ANN' } });

    const bob = await enter('bob', { version });
    const added = await ann.ears.next('pusher:member_added');
    assert.deepEqual(added.data, { id: 'bob', info: { name: 'BOB' } });
    assert.deepEqual(names(bob.channel), ['ann', 'bob']);
    assert.equal(bob.channel.members.count, 2);

    bob.pusher.disconnect();
    const removed = await ann.ears.next('pusher:member_removed');
    assert.equal(removed.data.id, 'bob');
    assert.equal(ann.channel.members.count, 1);
  });
}

test('a user with two connections comes once and leaves with the last (70, 71)', async (t) => {
  const { enter } = await kitchen(t);
  const ann = await enter('ann');
  const events = [];
  ann.channel.bind('pusher:member_added', ({ id }) => events.push(`+${id}`));
  ann.channel.bind('pusher:member_removed', ({ id }) => events.push(`-${id}`));

  const phone = await enter('bob');
  const tablet = await enter('bob');
  assert.equal(tablet.channel.members.count, 2);
  phone.pusher.disconnect();
  // Carol comes after the server has seen Bob's first connection go.
  await ann.ears.next('pusher:member_added');
  await enter('carol');
  await ann.ears.next('pusher:member_added');
  tablet.pusher.disconnect();
  await ann.ears.next('pusher:member_removed');

  assert.deepEqual(events, ['+bob', '+carol', '-bob']);
});

test('leaving by unsubscribe is seen too (72)', async (t) => {
  const { enter } = await kitchen(t);
  const ann = await enter('ann');
  const bob = await enter('bob');

  bob.pusher.unsubscribe('presence-kitchen');

  assert.equal((await ann.ears.next('pusher:member_removed')).data.id, 'bob');
});

test('a numeric user id arrives as text everywhere (65, 66)', async (t) => {
  // Signed as a number, with more digits than a double holds.
  const channel_data = '{"user_id":9007199254740993,"user_info":{"name":"Zoë"}}';
  const { server, sdk, enter } = await kitchen(t);
  const ann = await enter('ann');
  const pusher = await connect(t, server, {
    channelAuthorization: {
      customHandler: ({ socketId, channelName }, callback) => {
        // The SDK signs an object; signing text verbatim is its token's work.
        const signature = sdk.config.token.sign(`${socketId}:${channelName}:${channel_data}`);
        callback(null, { auth: `${sdk.config.token.key}:${signature}`, channel_data });
      },
    },
  });

  await subscribe(pusher, 'presence-kitchen');

  assert.equal((await ann.ears.next('pusher:member_added')).data.id, '9007199254740993');
  const { users } = await json(sdk.get({ path: '/channels/presence-kitchen/users' }));
  assert.deepEqual(users.map(({ id }) => id).sort(), ['9007199254740993', 'ann']);
});

test('a member without user_info is a member (64)', async (t) => {
  const { enter } = await kitchen(t, { member: (user) => ({ user_id: user }) });
  const ann = await enter('ann');

  await enter('bob');

  const { data } = await ann.ears.next('pusher:member_added');
  assert.equal(data.id, 'bob');
  assert.equal(ann.channel.members.me.info, null);
});

test('presence data without a user is refused on the channel (67)', async (t) => {
  const { server, backEnd } = await kitchen(t, { member: () => ({ user_info: { name: 'nobody' } }) });
  const pusher = await connect(t, server, asUser(backEnd, 'ann'));

  await emitted(pusher.subscribe('presence-kitchen'), 'pusher:subscription_error');

  await settled(pusher);
});

test('user_info that is no object is refused (67)', async (t) => {
  const { server, backEnd } = await kitchen(t, { member: (user) => ({ user_id: user, user_info: 'Ann' }) });
  const pusher = await connect(t, server, asUser(backEnd, 'ann'));
  const said = emitted(pusher.connection, 'error');

  pusher.subscribe('presence-kitchen');

  assert.match((await said).data.message, /type of hash/);
});

test('a full channel refuses another user but not another connection (73)', async (t) => {
  const { server, backEnd, enter } = await kitchen(t, {}, { limits: 'presence_members = 2' });
  await enter('ann');
  await enter('bob');
  const carol = await connect(t, server, asUser(backEnd, 'carol'));

  const refused = await emitted(carol.subscribe('presence-kitchen'), 'pusher:subscription_error');

  assert.equal(refused.type, 'LimitReached');
  assert.equal(refused.status, 403);
  const second = await enter('ann');
  assert.equal(second.channel.members.count, 2);
});

test('the API tells users and counts (154, 158, 159, 160, 163)', async (t) => {
  const { sdk, enter } = await kitchen(t);
  await enter('ann');
  await enter('ann');
  await enter('bob');

  const { users } = await json(sdk.get({ path: '/channels/presence-kitchen/users' }));
  const channel = await json(sdk.get({ path: '/channels/presence-kitchen', params: { info: 'user_count' } }));
  const params = { filter_by_prefix: 'presence-', info: 'user_count' };
  const { channels } = await json(sdk.get({ path: '/channels', params }));
  const triggered = await json(sdk.trigger('presence-kitchen', 'bell', {}, { info: 'user_count' }));

  assert.deepEqual(users.map(({ id }) => id).sort(), ['ann', 'bob']);
  assert.deepEqual(channel, { occupied: true, user_count: 2 });
  assert.deepEqual(channels, { 'presence-kitchen': { user_count: 2 } });
  assert.deepEqual(triggered, { channels: { 'presence-kitchen': { user_count: 2 } } });
  await assert.rejects(sdk.get({ path: '/channels', params: { info: 'user_count' } }), { status: 400 });
  await assert.rejects(sdk.get({ path: '/channels/kitchen/users' }), { status: 400 });
});

test('fifty who come at once all see each other exactly once (76)', async (t) => {
  const { server, backEnd } = await kitchen(t);
  const users = Array.from({ length: 50 }, (_, n) => `user-${n}`);
  const clients = await Promise.all(users.map((user) => connect(t, server, asUser(backEnd, user))));
  const seen = clients.map(() => []);

  const channels = await Promise.all(
    clients.map(async (pusher, n) => {
      const channel = pusher.subscribe('presence-kitchen');
      channel.bind('pusher:member_added', ({ id }) => seen[n].push(id));
      // At once: members that are added later must not be seen in this list too.
      channel.bind('pusher:subscription_succeeded', (members) => members.each(({ id }) => seen[n].push(id)));
      await emitted(channel, 'pusher:subscription_succeeded');
      return channel;
    }),
  );
  await Promise.all(clients.map(settled));

  for (const [n, channel] of channels.entries()) {
    assert.deepEqual(seen[n].toSorted(), users.toSorted());
    assert.equal(channel.members.count, 50);
  }
});
