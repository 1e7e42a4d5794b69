// Bounded waiting. Nothing in these tests sleeps: they wait for a condition, and
// a condition that does not come fails the test with its name.

/** Long enough for a busy machine; a test that passes never waits this long. */
export const PATIENCE_MS = 20_000;

/** Settles as `promise` does, or fails after `ms` and says what did not come. */
export async function within(promise, what, ms = PATIENCE_MS) {
  let timer;
  const timeout = new Promise((_, reject) => {
    timer = setTimeout(() => reject(new Error(`waited in vain for ${describe(what)}`)), ms);
  });
  try {
    return await Promise.race([promise, timeout]);
  } finally {
    clearTimeout(timer);
  }
}

// What is known only when the time is over is given as a function.
function describe(what) {
  return typeof what === 'function' ? what() : what;
}

/** Asks again until `check` returns something; the pause only spares the processor. */
export async function eventually(check, what, ms = PATIENCE_MS) {
  const end = Date.now() + ms;
  for (;;) {
    const found = await check();
    if (found) {
      return found;
    }
    if (Date.now() > end) {
      throw new Error(`waited in vain for ${describe(what)}`);
    }
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
}

/** Resolves with the argument of the first `event` that `emitter` emits from now on. */
export function emitted(emitter, event, what = event, ms = PATIENCE_MS) {
  let listener;
  const first = new Promise((resolve) => {
    listener = resolve;
    emitter.bind(event, listener);
  });
  return within(first, what, ms).finally(() => emitter.unbind(event, listener));
}
