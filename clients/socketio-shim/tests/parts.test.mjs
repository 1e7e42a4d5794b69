// Decisions without a connection.

import assert from 'node:assert/strict';
import { mock, test } from 'node:test';

import { Emitter } from '../dist/emitter.js';
import { pauses } from '../dist/pauses.js';
import { Repeats, withoutId } from '../dist/repeats.js';
import { serverOf } from '../dist/server_url.js';

test('an event with an id that came within 60 s is a repeat', () => {
  const repeats = new Repeats();

  assert.equal(repeats.has('order:new', { _eid: 'a' }, 0), false);
  assert.equal(repeats.has('order:new', { _eid: 'a' }, 59_999), true);
  assert.equal(repeats.has('order:updated', { _eid: 'a' }, 59_999), false);
  assert.equal(repeats.has('order:new', { _eid: 'a' }, 60_000), false);
});

test('what carries no id is never a repeat', () => {
  const repeats = new Repeats();

  for (const data of [null, undefined, 7, 'a', [], {}, { _eid: 7 }, { _eid: '' }, { _eid: 'x'.repeat(65) }]) {
    assert.equal(repeats.has('x', data, 0), false);
    assert.equal(repeats.has('x', data, 0), false);
    assert.equal(withoutId(data), data);
  }
  assert.equal(repeats.size, 0);
});

test('repeats remember 4,096 events and forget the oldest', () => {
  const repeats = new Repeats();

  for (let id = 0; id < 10_000; id += 1) {
    repeats.has('x', { _eid: `${id}` }, 0);
  }

  assert.equal(repeats.size, 4_096);
  assert.equal(repeats.has('x', { _eid: '9999' }, 0), true);
  assert.equal(repeats.has('x', { _eid: '0' }, 0), false);
});

test('the id of the server is not told to the page', () => {
  const data = JSON.parse('{"_eid":"a","id":7,"__proto__":{"polluted":true}}');

  const told = withoutId(data);

  assert.deepEqual(Object.keys(told), ['id', '__proto__']);
  assert.equal({}.polluted, undefined);
  assert.equal(data._eid, 'a');
});

class Open extends Emitter {
  say(...values) {
    this.tell(...values);
  }
}

test('a listener that throws is reported and stops nobody', (t) => {
  const report = t.mock.method(console, 'error', () => {});
  const emitter = new Open();
  const heard = [];
  emitter.on('x', () => {
    throw new Error('of the page');
  });
  emitter.on('x', (value) => heard.push(value));

  emitter.say('x', 7);

  assert.deepEqual(heard, [7]);
  assert.equal(report.mock.calls[0].arguments[0].message, 'of the page');
});

test('listeners are added and removed, also while they are called', () => {
  const emitter = new Open();
  const heard = [];
  const first = () => {
    heard.push('first');
    emitter.off('x', second).on('x', third);
  };
  const second = () => heard.push('second');
  const third = () => heard.push('third');
  emitter.once('x', first).on('x', second).on('toString', second);

  emitter.say('x');
  emitter.say('x');
  emitter.say('constructor');
  emitter.off();
  emitter.say('x');

  assert.deepEqual(heard, ['first', 'second', 'third']);
  assert.equal(emitter.hasListeners('x'), false);
});

test('pauses grow from 1 s to 30 s and begin anew after a success', (t) => {
  t.mock.timers.enable({ apis: ['setTimeout'] });
  t.mock.method(Math, 'random', () => 1);
  const act = mock.fn();
  const pause = pauses(act);

  for (const length of [1_000, 2_000, 4_000, 8_000, 16_000, 30_000, 30_000]) {
    pause.begin();
    t.mock.timers.tick(length - 1);
    assert.equal(act.mock.callCount(), 0, `${length}`);
    t.mock.timers.tick(1);
    assert.equal(act.mock.callCount(), 1, `${length}`);
    act.mock.resetCalls();
  }
  pause.reset();
  pause.begin();
  t.mock.timers.tick(1_000);
  assert.equal(act.mock.callCount(), 1);
});

test('the server is where Socket.IO would look for it', () => {
  const where = (address, page) => {
    const { origin, port, isSecure, namespace } = serverOf(address, page);
    return [origin, port, isSecure, namespace];
  };
  const page = 'http://shop.example:8080/orders/7';

  assert.deepEqual(where(undefined, page), ['http://shop.example:8080', 8080, false, undefined]);
  assert.deepEqual(where('/sto-queue', page), ['http://shop.example:8080', 8080, false, 'sto-queue']);
  assert.deepEqual(where('http://localhost:3002/sto-queue'), ['http://localhost:3002', 3002, false, 'sto-queue']);
  assert.deepEqual(where('wss://rt.example'), ['https://rt.example', 443, true, undefined]);
  assert.deepEqual(where('localhost:5009', page), ['http://localhost:5009', 5009, false, undefined]);
  assert.deepEqual(where('//rt.example', 'https://shop.example'), ['https://rt.example', 443, true, undefined]);
  assert.throws(() => serverOf('ftp://rt.example'), TypeError);
  assert.throws(() => serverOf(undefined, undefined), TypeError);
});
