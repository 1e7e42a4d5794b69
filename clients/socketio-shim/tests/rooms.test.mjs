// Acceptance: enc_vectors, enc_rejects_noncanonical.

import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import { test } from 'node:test';

import { RoomError, channelOfRoom, decodeRoom, encodeRoom, roomOfChannel } from 'fanfare-socketio-shim/rooms';

const vectors = JSON.parse(await readFile(new URL('../../room-vectors.json', import.meta.url)));

test('enc_vectors: rooms become channels and channels rooms, as on the server', () => {
  assert.ok(vectors.encode.length >= 10);
  for (const { room, decoded, channel } of vectors.encode) {
    assert.equal(`private-${encodeRoom(room)}`, channel);
    assert.equal(roomOfChannel(channel), decoded);
  }
});

test('enc_rejects_noncanonical: no room has a second channel', () => {
  assert.ok(vectors.reject.length >= 10);
  for (const channel of vectors.reject) {
    assert.throws(() => roomOfChannel(channel), RoomError, channel);
  }
  assert.throws(() => roomOfChannel('operators'), RoomError);
});

test('what is no room has no channel', () => {
  for (const room of [undefined, null, 7, {}, [], '', 'a'.repeat(200), 'я'.repeat(100), 'x'.repeat(1 << 20)]) {
    assert.throws(() => channelOfRoom(room), RoomError);
  }
  for (const half of ['\ud800', 'city:\udc00x']) {
    assert.throws(() => encodeRoom(half), RoomError);
  }
  assert.throws(() => decodeRoom('=\ud800'), RoomError);
  assert.equal(channelOfRoom('a'.repeat(156)).length, 164);
});
