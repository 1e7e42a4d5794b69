// Laravel Echo, with the broadcasters that Laravel projects configure.

import assert from 'node:assert/strict';
import { test } from 'node:test';

import Echo from 'laravel-echo';

import { asUser, startBackEnd } from './support/back_end.mjs';
import { atEnd } from './support/cleanup.mjs';
import { Pusher, json, options, serverSdk, settled } from './support/clients.mjs';
import { APP, startServer } from './support/server.mjs';
import { eventually, within } from './support/within.mjs';

for (const broadcaster of ['pusher', 'reverb']) {
  async function laravel(t) {
    const server = await startServer(t);
    const sdk = serverSdk(server);
    const backEnd = await startBackEnd(t, sdk);
    const echo = (user) => {
      const echo = new Echo({
        broadcaster,
        Pusher,
        key: APP.key,
        ...options(server),
        ...asUser(backEnd, user),
      });
      atEnd(t, () => echo.disconnect());
      return echo;
    };
    return { sdk, echo };
  }

  test(`${broadcaster}: channel().listen() hears events of Laravel's namespace (38, 149)`, async (t) => {
    const { sdk, echo } = await laravel(t);
    const channel = echo('ann').channel('orders');
    await subscribed(channel);
    const shipped = heard((listener) => channel.listen('OrderShipped', listener));
    const named = heard((listener) => channel.listen('.order.shipped', listener));

    await sdk.trigger('orders', 'App\\Events\\OrderShipped', { id: 7 });
    await sdk.trigger('orders', 'order.shipped', { id: 8 });

    assert.deepEqual(await shipped('OrderShipped'), { id: 7 });
    assert.deepEqual(await named('order.shipped'), { id: 8 });
  });

  test(`${broadcaster}: private() listens and whispers to others, not to itself (58, 80)`, async (t) => {
    const { sdk, echo } = await laravel(t);
    const ann = echo('ann').private('orders.1');
    const bob = echo('bob').private('orders.1');
    await Promise.all([subscribed(ann), subscribed(bob)]);
    const event = heard((listener) => bob.listen('OrderShipped', listener));
    const whisper = heard((listener) => bob.listenForWhisper('typing', listener));
    let echoed = false;
    ann.listenForWhisper('typing', () => {
      echoed = true;
    });

    await sdk.trigger('private-orders.1', 'App\\Events\\OrderShipped', { id: 7 });
    ann.whisper('typing', { name: 'ann' });

    assert.deepEqual(await event('the event'), { id: 7 });
    assert.deepEqual(await whisper('the whisper'), { name: 'ann' });
    await settled(ann.pusher);
    assert.equal(echoed, false);
  });

  test(`${broadcaster}: join() tells who is here, joining and leaving (63, 69, 72)`, async (t) => {
    const { echo } = await laravel(t);
    const ann = echo('ann').join('kitchen');
    const here = heard((listener) => ann.here(listener));
    const joining = heard((listener) => ann.joining(listener));
    const leaving = heard((listener) => ann.leaving(listener));
    assert.deepEqual(await here('the members'), [{ name: 'ANN' }]);

    const bob = echo('bob');
    bob.join('kitchen');

    assert.deepEqual(await joining('bob joining'), { name: 'BOB' });
    bob.leave('kitchen');
    assert.deepEqual(await leaving('bob leaving'), { name: 'BOB' });
  });

  test(`${broadcaster}: leave() gives up the channel in all its forms (41)`, async (t) => {
    const { sdk, echo } = await laravel(t);
    const ann = echo('ann');
    await Promise.all([subscribed(ann.channel('orders')), subscribed(ann.private('orders'))]);
    assert.deepEqual(await occupied(sdk), ['orders', 'private-orders']);

    ann.leave('orders');

    await eventually(async () => (await occupied(sdk)).length === 0, 'the channels to be vacated');
  });

  test(`${broadcaster}: error() tells that the back end refuses`, async (t) => {
    const { echo } = await laravel(t);
    const channel = echo('ann').private('forbidden');

    const error = await heard((listener) => channel.error(listener))('the refusal');

    assert.equal(error.status, 403);
  });

  test(`${broadcaster}: socketId() keeps one's own events away (150)`, async (t) => {
    const { sdk, echo } = await laravel(t);
    const ann = echo('ann');
    const annChannel = ann.channel('orders');
    const bobChannel = echo('bob').channel('orders');
    await Promise.all([subscribed(annChannel), subscribed(bobChannel)]);
    let echoed = false;
    annChannel.listen('.order', () => {
      echoed = true;
    });
    const event = heard((listener) => bobChannel.listen('.order', listener));

    // What Laravel's toOthers() does with the X-Socket-ID header.
    await sdk.trigger('orders', 'order', {}, { socket_id: ann.socketId() });

    await event('the event');
    await settled(annChannel.pusher);
    assert.equal(echoed, false);
  });
}

async function occupied(sdk) {
  const { channels } = await json(sdk.get({ path: '/channels' }));
  return Object.keys(channels).sort();
}

async function subscribed(channel) {
  await heard((listener) => channel.subscribed(listener))(`the subscription to ${channel.name}`);
}

/** Begins to listen now; the function that it returns waits. */
function heard(listen) {
  const first = new Promise((resolve) => listen(resolve));
  return (what) => within(first, what);
}
