// One of three nodes is replaced under load, as in every deploy.

import assert from 'node:assert/strict';
import { once } from 'node:events';
import { createServer } from 'node:http';
import { test } from 'node:test';

import { asUser, startBackEnd } from './support/back_end.mjs';
import { startBalancer } from './support/balancer.mjs';
import { atEnd } from './support/cleanup.mjs';
import { connect, serverSdk, subscribe } from './support/clients.mjs';
import { startRedis } from './support/redis.mjs';
import { startServer } from './support/server.mjs';
import { eventually } from './support/within.mjs';

const CLIENTS = 12;
const ROOM = 'presence-kitchen';

/** Collects what webhooks tell, in short: `member_added ann`. */
async function startReceiver(t) {
  const told = [];
  const server = createServer(async (request, response) => {
    const body = JSON.parse(Buffer.concat(await request.toArray()).toString());
    told.push(...body.events.map(({ name, channel, user_id: user }) => `${name} ${user ?? channel}`));
    response.end();
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  atEnd(t, () => {
    server.closeAllConnections();
    server.close();
  });
  return { told, url: `http://127.0.0.1:${server.address().port}/` };
}

test('a node is replaced under load and nobody notices', async (t) => {
  const redis = await startRedis(t);
  const receiver = await startReceiver(t);
  const settings = {
    tables: `[engine]\nurl = "${redis}"\nnode_timeout = 6\n`,
    app: `webhooks = [{ url = "${receiver.url}", events = [
      "channel_occupied", "channel_vacated", "member_added", "member_removed"] }]`,
  };
  const nodes = await Promise.all([1, 2, 3].map(() => startServer(t, settings)));
  const balancer = await startBalancer(t, nodes);
  const sdk = serverSdk(balancer);
  const backEnd = await startBackEnd(t, sdk);
  const people = await Promise.all(
    Array.from({ length: CLIENTS }, async (_, number) => {
      const pusher = await connect(t, balancer, asUser(backEnd, `user${number}`));
      const person = { pusher, heard: [], states: [], sockets: [pusher.connection.socket_id] };
      pusher.connection.bind('state_change', ({ current }) => person.states.push(current));
      pusher.connection.bind('connected', ({ socket_id: id }) => person.sockets.push(id));
      const room = await subscribe(pusher, ROOM);
      room.bind('tick', ({ number: tick }) => person.heard.push(tick));
      return person;
    }),
  );
  await eventually(() => receiver.told.length === CLIENTS + 1, 'the webhooks of all who came');
  const leaving = nodes[0];
  assert.ok(balancer.on(leaving) > 0);

  let ticks = 0;
  let isOver = false;
  const load = (async () => {
    while (!isOver) {
      await sdk.trigger(ROOM, 'tick', { number: ticks });
      ticks += 1;
    }
  })();
  await eventually(() => people.every(({ heard }) => heard.length > 5), 'the first events');
  await leaving.stop();
  const moved = people.filter(({ sockets, states }) => sockets.length > 1 || states.length > 0);
  assert.ok(moved.length > 0);
  // pusher-js tries once at once, and the second time after 15 s.
  const isBack = ({ pusher }) => pusher.connection.state === 'connected' && pusher.channel(ROOM).subscribed;
  await eventually(() => people.every(isBack), 'everybody to be back', 10_000);
  const isThere = people.map(({ heard }) => heard.length);
  await eventually(() => people.every(({ heard }, place) => heard.length > isThere[place] + 5), 'later events');
  await leaving.start();
  isOver = true;
  await load;
  await eventually(() => people.every(({ heard }) => heard.at(-1) === ticks - 1), 'the last event');

  for (const person of people) {
    const inOrder = person.heard.every((tick, place, all) => place === 0 || tick > all[place - 1]);
    assert.ok(inOrder, `twice or out of order: ${person.heard}`);
    if (moved.includes(person)) {
      assert.deepEqual(person.states, ['connecting', 'connected']);
    } else {
      assert.deepEqual(person.states, []);
      assert.equal(person.heard.length, person.heard.at(-1) - person.heard[0] + 1, 'nothing is missing');
    }
  }
  // Whoever leaves now is told last: all that were held back before would be told
  // by then.
  people[0].pusher.disconnect();
  await eventually(() => receiver.told.includes('member_removed user0'), 'the webhook of who left');
  const expected = [`channel_occupied ${ROOM}`, 'member_removed user0'];
  expected.push(...people.map((_, number) => `member_added user${number}`));
  assert.deepEqual([...receiver.told].sort(), expected.sort());
});
