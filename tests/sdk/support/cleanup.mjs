// Undoes what a test has started, the latest first: clients leave before their
// server stops, so that none of them begins to reconnect.

const undo = new WeakMap();

/** Runs `step` when the test `t` has ended, however it ended. */
export function atEnd(t, step) {
  if (!undo.has(t)) {
    const steps = [];
    undo.set(t, steps);
    t.after(async () => {
      for (const step of steps.reverse()) {
        await step();
      }
    });
  }
  undo.get(t).push(step);
}
