// Short messages at the bottom, where the thumb is.

import { createContext, use, useCallback, useEffect, useState } from 'react';

import { useRestaurant } from '../data/use-restaurant';

export interface Toast {
  text: string;
  tone: 'plain' | 'good' | 'warning' | 'critical';
  /** Something to do about it. */
  action?: { label: string; run: () => void };
}

const SHOWN_MS = 6_000;
const MAX_SHOWN = 3;

const ToastContext = createContext<(toast: Toast) => void>(() => {});

export const useToast = () => use(ToastContext);

/** Shows what the back end refuses after the fact. */
export function useRefusals(): void {
  const restaurant = useRestaurant();
  const toast = useToast();
  useEffect(() => {
    restaurant.onRefusal = (reason) => toast({ text: reason, tone: 'critical' });
  }, [restaurant, toast]);
}

export function Toasts({ children }: { children: React.ReactNode }) {
  const [toasts, setToasts] = useState<(Toast & { id: number })[]>([]);
  const dismiss = useCallback((id: number) => setToasts((all) => all.filter((toast) => toast.id !== id)), []);
  const show = useCallback(
    (toast: Toast) => {
      const id = Math.random();
      setToasts((all) => [...all, { ...toast, id }].slice(-MAX_SHOWN));
      setTimeout(() => dismiss(id), SHOWN_MS);
    },
    [dismiss],
  );
  return (
    <ToastContext value={show}>
      {children}
      <ol className="toasts" aria-live="polite">
        {toasts.map(({ id, text, tone, action }) => (
          <li key={id} data-tone={tone}>
            <span>{text}</span>
            {action && (
              <button
                onClick={() => {
                  action.run();
                  dismiss(id);
                }}
              >
                {action.label}
              </button>
            )}
          </li>
        ))}
      </ol>
    </ToastContext>
  );
}
