// When to try again to connect: soon, then less and less often.

const FIRST_MS = 2_000;
const LONGEST_MS = 15_000;

export class Patience {
  #again: () => void;
  #timer: ReturnType<typeof setTimeout> | undefined;
  #wait = FIRST_MS;

  constructor(again: () => void) {
    this.#again = again;
  }

  /** Call it whenever the connection came or went. */
  follow(isConnected: boolean): void {
    if (isConnected) {
      clearTimeout(this.#timer);
      this.#timer = undefined;
      this.#wait = FIRST_MS;
    } else if (this.#timer === undefined) {
      // Not all displays at the same moment.
      const wait = this.#wait * (0.75 + Math.random() / 2);
      this.#timer = setTimeout(() => this.#tryAgain(), wait);
    }
  }

  #tryAgain(): void {
    this.#wait = Math.min(this.#wait * 2, LONGEST_MS);
    this.#timer = undefined;
    this.follow(false);
    this.#again();
  }
}
