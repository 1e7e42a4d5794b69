// What the storeroom has, the scarcest first.

import { useState } from 'react';

import { type Ingredient, Refused, api } from '../data/api';
import { timeOfDay } from '../data/clock';
import { alarm } from '../data/sound';
import { useRestaurant, useView } from '../data/use-restaurant';
import { useStorageEvents } from '../hooks/use-pusher';
import type { BatchReceived } from '../lib/websocket-events';
import { Frame, Nothing } from '../parts/frame';
import { useToast } from '../parts/toasts';

const DELIVERIES_SHOWN = 8;

export function Stock() {
  const restaurant = useRestaurant();
  const { ingredients } = useView();
  const toast = useToast();
  const [deliveries, setDeliveries] = useState<BatchReceived[]>([]);
  useStorageEvents({
    onLowStock: (stock) => {
      restaurant.lowStock(stock);
      alarm();
      const { ingredientName, currentStock, unit, severity } = stock;
      toast({ text: `${ingredientName}: only ${currentStock} ${unit} left`, tone: severity });
    },
    onBatchReceived: (batch) => {
      restaurant.catchUp();
      setDeliveries((all) => {
        const isKnown = all.some(({ batchDocumentId }) => batchDocumentId === batch.batchDocumentId);
        return isKnown ? all : [batch, ...all].slice(0, DELIVERIES_SHOWN);
      });
    },
  });
  const scarce = [...ingredients].sort((one, other) => fill(one) - fill(other));
  const low = scarce.filter((ingredient) => fill(ingredient) < 1).length;
  return (
    <Frame title="Stock" bar={low > 0 && <span className="badge" data-tone="warning">{low} low</span>}>
      <main className="stock">
        {scarce.length === 0 && <Nothing title="The storeroom is empty">Nothing is kept here yet.</Nothing>}
        <ol>
          {scarce.map((ingredient) => (
            <Shelf key={ingredient.documentId} ingredient={ingredient} />
          ))}
        </ol>
        <section className="deliveries">
          <h2>Came in</h2>
          {deliveries.length === 0 && <p className="none">Nothing since this page was opened.</p>}
          <ol>
            {deliveries.map(({ batchDocumentId, ingredientName, quantity, unit, supplierName, serverTimestamp }) => (
              <li key={batchDocumentId}>
                <strong>
                  {quantity} {unit} {ingredientName}
                </strong>
                <span>
                  {timeOfDay(serverTimestamp)}
                  {supplierName && `, ${supplierName}`}
                </span>
              </li>
            ))}
          </ol>
        </section>
      </main>
    </Frame>
  );
}

function Shelf({ ingredient }: { ingredient: Ingredient }) {
  const { documentId, name, currentStock, minStock, unit } = ingredient;
  const restaurant = useRestaurant();
  const toast = useToast();
  const [isBusy, setIsBusy] = useState(false);
  const quantity = Math.ceil(minStock * 2);
  const receive = async () => {
    setIsBusy(true);
    try {
      await api.receiveBatch(documentId, quantity);
      restaurant.catchUp();
    } catch (error) {
      const why = error instanceof Refused ? error.message : 'nobody answers; try again';
      toast({ text: `Not noted: ${why}`, tone: 'critical' });
    }
    setIsBusy(false);
  };
  const level = fill(ingredient) >= 1 ? 'fine' : fill(ingredient) > 1 / 3 ? 'low' : 'critical';
  return (
    <li className="shelf" data-level={level}>
      <strong>{name}</strong>
      <span className="amount">
        {amount(currentStock)} <small>{unit}</small>
      </span>
      <span className="level">
        <span style={{ inlineSize: `${Math.min(100, (currentStock / (minStock * 3)) * 100)}%` }} />
        <i title={`at least ${minStock} ${unit}`} />
      </span>
      <span className="hint">{{ fine: `at least ${amount(minStock)}`, low: 'Low, order soon', critical: 'Nearly gone' }[level]}</span>
      <button onClick={receive} disabled={isBusy} aria-label={`${quantity} ${unit} ${name} came in`}>
        + {quantity} {unit}
      </button>
    </li>
  );
}

function fill({ currentStock, minStock }: Ingredient): number {
  return currentStock / minStock;
}

function amount(number: number): string {
  return number.toLocaleString([], { maximumFractionDigits: 1 });
}
