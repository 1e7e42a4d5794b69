// Asking again: after about 1 s, 2 s, 4 s and so on, at most 30 s.

const FIRST_MS = 1_000;
const LONGEST_MS = 30_000;

export interface Pause {
  /** Acts after the next pause; the pauses grow until `reset`. */
  begin(): void;
  reset(): void;
}

export function pauses(act: () => void): Pause {
  let attempts = 0;
  let timer: ReturnType<typeof setTimeout> | undefined;
  return {
    begin() {
      clearTimeout(timer);
      // Half of it by chance: clients that failed together do not come back together.
      const pause = Math.min(FIRST_MS * 2 ** attempts, LONGEST_MS) * (0.5 + Math.random() / 2);
      attempts = Math.min(attempts + 1, 10);
      timer = setTimeout(act, pause);
    },
    reset() {
      clearTimeout(timer);
      attempts = 0;
    },
  };
}
