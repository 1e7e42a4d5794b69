// What a page shows of the server: asked for once, again, or every few seconds.

import { useCallback, useEffect, useRef, useState } from 'preact/hooks';

import type { Refusal } from './api';

export interface Data<T> {
  value?: T;
  error?: Refusal | Error;
  isLoading: boolean;
  /** Asks again now. */
  reload: () => Promise<void>;
}

/**
 * Asks with `ask` whenever one of `inputs` changes, and every `seconds` while the page
 * is seen. What was there stays until the next answer; an answer that comes too late is
 * left out.
 */
export function useData<T>(ask: () => Promise<T>, inputs: unknown[], seconds?: number): Data<T> {
  const [state, setState] = useState<{ value?: T; error?: Error; isLoading: boolean }>({ isLoading: true });
  const round = useRef(0);
  const reload = useCallback(async () => {
    round.current += 1;
    const mine = round.current;
    try {
      const value = await ask();
      if (mine === round.current) {
        setState({ value, isLoading: false });
      }
    } catch (error) {
      if (mine === round.current) {
        setState(({ value }) => ({ ...(value !== undefined && { value }), error: error as Error, isLoading: false }));
      }
    }
  }, inputs);
  useEffect(() => {
    setState({ isLoading: true });
    reload();
    const timer = seconds && setInterval(() => document.hidden || reload(), seconds * 1000);
    return () => {
      round.current += 1;
      clearInterval(timer);
    };
  }, [reload, seconds]);
  return { ...state, reload };
}

/** Does something once at a time, and keeps what went wrong. */
export function useAction<A extends unknown[]>(act: (...given: A) => Promise<void>) {
  const [isBusy, setBusy] = useState(false);
  const [error, setError] = useState<Error | undefined>();
  const run = async (...given: A) => {
    setBusy(true);
    setError(undefined);
    try {
      await act(...given);
    } catch (failure) {
      setError(failure as Error);
    } finally {
      setBusy(false);
    }
  };
  return { run, isBusy, error, clear: () => setError(undefined) };
}
