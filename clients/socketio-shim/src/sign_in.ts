// Who this client is, as the server has confirmed it.

import type Pusher from 'pusher-js';

import { type Authorization, Refusal, asObject, parseObject } from './authorization.js';
import { type Pause, pauses } from './pauses.js';
import type { Answer, User } from './translations.js';

const MAX_WAITING = 100;

export class SignIn {
  /** Whoever is signed in on the present connection. */
  user: User | undefined;
  #waiting: Array<(refusal?: Refusal) => void> = [];
  #pause: Pause;

  constructor(
    private readonly pusher: Pusher,
    private readonly refused: (refusal: Refusal) => void,
  ) {
    this.#pause = pauses(() => this.#ask());
  }

  /** Signs in now and on each connection to come. */
  begin(): Promise<Answer> {
    if (this.#waiting.length >= MAX_WAITING) {
      throw new Refusal('too many wait for the sign-in already', 0);
    }
    const done = new Promise<Answer>((resolve, reject) => {
      this.#waiting.push((refusal) => {
        if (refusal) {
          reject(refusal);
        } else {
          resolve({ success: true, userId: this.user?.id, role: this.user?.role });
        }
      });
    });
    this.#ask();
    return done;
  }

  /** Whether somebody waits for an answer. */
  get isPending(): boolean {
    return this.#waiting.length > 0;
  }

  /** Why the endpoint's answer is no sign-in on this connection. */
  refusalOf(answer: Authorization | Refusal): Refusal | undefined {
    if (answer instanceof Refusal) {
      return answer;
    }
    const user = userIn(parseObject(answer.user_data));
    if (!user) {
      return new Refusal('the answer names no user', 403);
    }
    const isAnother = this.user !== undefined && this.user.id !== user.id;
    return isAnother ? new Refusal('signed in as somebody else; disconnect first', 409) : undefined;
  }

  /** The server has confirmed `data`; returns the user, unless it is none. */
  succeeded(data: unknown): User | undefined {
    this.user = userIn(parseObject(asObject(data)?.user_data));
    if (this.user) {
      this.#pause.reset();
      this.#waiting.splice(0).forEach((proceed) => proceed());
    }
    return this.user;
  }

  failed(refusal: Refusal): void {
    if (refusal.isPassing) {
      this.#pause.begin();
      return;
    }
    this.#waiting.splice(0).forEach((proceed) => proceed(refusal));
    this.refused(refusal);
  }

  /** The connection is gone; pusher-js signs in again on the next one. */
  lost(): void {
    this.user = undefined;
    this.#pause.reset();
  }

  /** The page has gone. */
  clear(): void {
    this.lost();
    this.#waiting.splice(0).forEach((proceed) => proceed(new Refusal('disconnected', 0)));
  }

  #ask(): void {
    // pusher-js asks once, also when the answer was no or came for another token.
    this.pusher.user.signin_requested = false;
    this.pusher.signin();
  }
}

function userIn(data: Record<string, unknown> | undefined): User | undefined {
  const more = asObject(data?.user_info);
  const id = data?.id;
  const role = data?.role ?? more?.role;
  const name = data?.name ?? more?.name;
  if (!(typeof id === 'string' && id !== '') && typeof id !== 'number') {
    return undefined;
  }
  return {
    id: String(id),
    ...(typeof role === 'string' && { role }),
    ...(typeof name === 'string' && { name }),
  };
}
