// One order, from the menu to the kitchen. What is not sent yet stays on the device.

import { useState } from 'react';

import { type NewOrder, Refused, api } from '../data/api';
import { load, save } from '../data/keep';
import { useMenu } from '../data/use-menu';
import { useRestaurant } from '../data/use-restaurant';
import { Icon } from '../parts/icons';
import { money } from '../parts/money';
import { useToast } from '../parts/toasts';

interface Draft {
  /** One for all attempts to send this order, so that it cannot come twice. */
  requestId: string;
  isRush: boolean;
  items: Record<string, { quantity: number; note: string }>;
}

export function OrderForm({ tableNumber, onDone }: { tableNumber: number | null; onDone: () => void }) {
  const restaurant = useRestaurant();
  const toast = useToast();
  const menu = useMenu();
  const [draft, setDraft] = useDraft(tableNumber);
  const [problem, setProblem] = useState('');
  const [isSending, setIsSending] = useState(false);

  const chosen = Object.entries(draft.items).filter(([, { quantity }]) => quantity > 0);
  const count = chosen.reduce((sum, [, { quantity }]) => sum + quantity, 0);
  const total = chosen.reduce((sum, [id, { quantity }]) => sum + quantity * (menu?.items.find((item) => item.id === id)?.price ?? 0), 0);

  const change = (id: string, what: Partial<Draft['items'][string]>) => {
    const before = draft.items[id] ?? { quantity: 0, note: '' };
    setDraft({ ...draft, items: { ...draft.items, [id]: { ...before, ...what } } });
  };

  const send = async () => {
    setIsSending(true);
    setProblem('');
    const order: NewOrder = {
      requestId: draft.requestId,
      tableNumber,
      priority: draft.isRush ? 'high' : 'normal',
      items: chosen.map(([menuItem, { quantity, note }]) => ({ menuItem, quantity, note })),
    };
    try {
      const { orderNumber } = await api.placeOrder(order);
      setDraft(null);
      restaurant.catchUp();
      toast({ text: `Order ${orderNumber} is in the kitchen`, tone: 'good' });
      onDone();
    } catch (error) {
      setProblem(error instanceof Refused ? error.message : 'Nobody answers. The order is kept here; send it again when you are back in the Wi-Fi.');
      setIsSending(false);
    }
  };

  return (
    <div className="order-form">
      <header>
        <button className="tool" aria-label="Back" onClick={onDone}>
          <Icon name="back" />
        </button>
        <h2>{tableNumber === null ? 'Takeaway' : `Table ${tableNumber}`}</h2>
        <label className="switch">
          <input type="checkbox" checked={draft.isRush} onChange={({ target }) => setDraft({ ...draft, isRush: target.checked })} />
          Rush
        </label>
      </header>
      <div className="menu">
        {!menu && <p className="none">One moment …</p>}
        {menu?.stations.map((station) => (
          <fieldset key={station.id}>
            <legend>{station.name}</legend>
            {menu.items
              .filter((item) => item.station === station.id)
              .map(({ id, name, price }) => {
                const { quantity, note } = draft.items[id] ?? { quantity: 0, note: '' };
                return (
                  <div key={id} className="item" data-item={id} data-chosen={quantity > 0}>
                    <button className="name" onClick={() => change(id, { quantity: quantity + 1 })}>
                      {name} <span>{money(price)}</span>
                    </button>
                    {quantity > 0 && (
                      <>
                        <button className="step" aria-label={`One ${name} less`} onClick={() => change(id, { quantity: quantity - 1 })}>
                          −
                        </button>
                        <b>{quantity}</b>
                        <input
                          value={note}
                          maxLength={200}
                          placeholder="Wish or allergy"
                          aria-label={`Note for ${name}`}
                          onChange={({ target }) => change(id, { note: target.value })}
                        />
                      </>
                    )}
                  </div>
                );
              })}
          </fieldset>
        ))}
      </div>
      <footer>
        {problem && (
          <p className="problem" role="alert">
            {problem}
          </p>
        )}
        <button className="primary" disabled={count === 0 || isSending} onClick={send}>
          {isSending ? 'Sending …' : count === 0 ? 'Choose dishes' : `Send ${count} to the kitchen · ${money(total)}`}
        </button>
      </footer>
    </div>
  );
}

function useDraft(tableNumber: number | null): [Draft, (draft: Draft | null) => void] {
  const name = `draft-${tableNumber ?? 'takeaway'}`;
  const [draft, setDraft] = useState<Draft>(() => load<Draft>(name) ?? newDraft());
  const set = (next: Draft | null) => {
    save(name, next);
    setDraft(next ?? newDraft());
  };
  return [draft, set];
}

function newDraft(): Draft {
  // `crypto.randomUUID` is missing on pages without HTTPS.
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  const requestId = [...bytes].map((byte) => byte.toString(16).padStart(2, '0')).join('');
  return { requestId, isRush: false, items: {} };
}
