// The waiter's view: all tables at a glance, and one of them in full.

import { useState } from 'react';

import { type Order, Refused, type Table, type Ticket, api } from '../data/api';
import { duration, useNow } from '../data/clock';
import { chime } from '../data/sound';
import { useRestaurant, useView } from '../data/use-restaurant';
import { useChannel, useTableEvents } from '../hooks/use-pusher';
import { CHANNELS, EVENTS, type ItemStatusChanged } from '../lib/websocket-events';
import { Frame, Nothing } from '../parts/frame';
import { Icon } from '../parts/icons';
import { money } from '../parts/money';
import { useRefusals, useToast } from '../parts/toasts';
import { OrderForm } from './order-form';

/** Stands for the orders that belong to no table. */
const TAKEAWAY = 0;

export function Waiter() {
  const restaurant = useRestaurant();
  const { tables, tickets, orders } = useView();
  const toast = useToast();
  const [chosen, setChosen] = useState<number | null>(null);
  useRefusals();

  useChannel(CHANNELS.ORDERS, {
    [EVENTS.ORDER_CREATED]: restaurant.orderCreated,
    [EVENTS.ORDER_UPDATED]: restaurant.orderUpdated,
    [EVENTS.ORDER_CANCELLED]: restaurant.orderCancelled,
    [EVENTS.ITEM_STATUS_CHANGED]: (item: ItemStatusChanged) => {
      restaurant.ticketStatusChanged({ ...item, ticketNumber: '' });
      if (item.newStatus === 'ready') {
        chime();
        toast({ text: `${item.menuItemName} for ${item.tableNumber ? `table ${item.tableNumber}` : `order ${item.orderNumber}`} is ready`, tone: 'good' });
      }
    },
  });
  useChannel(CHANNELS.TABLES, { [EVENTS.TABLE_STATUS_CHANGED]: restaurant.tableStatusChanged });

  const isOpen = ({ status }: Order) => status !== 'paid' && status !== 'cancelled';
  const takeaway = orders.filter((order) => order.tableNumber === null && isOpen(order) && order.status !== 'served');
  return (
    <Frame title="Tables">
      <main className="waiter" data-chosen={chosen !== null}>
        <section className="tables" aria-label="Tables">
          {tables.length === 0 && <Nothing title="No tables">The restaurant has no tables yet.</Nothing>}
          {tables.map((table) => (
            <TableTile
              key={table.number}
              name={String(table.number)}
              about={`${table.seats} seats`}
              isFree={table.status === 'free'}
              tickets={tickets.filter((ticket) => ticket.tableNumber === table.number && isAtTable(ticket, orders))}
              isChosen={chosen === table.number}
              onChoose={() => setChosen(table.number)}
            />
          ))}
          {tables.length > 0 && (
            <TableTile
              name="Takeaway"
              about={`${takeaway.length} orders`}
              isFree={takeaway.length === 0}
              tickets={tickets.filter((ticket) => takeaway.some(({ documentId }) => documentId === ticket.orderDocumentId))}
              isChosen={chosen === TAKEAWAY}
              onChoose={() => setChosen(TAKEAWAY)}
            />
          )}
        </section>
        {chosen === null ? (
          <section className="detail none">
            <p>Choose a table.</p>
          </section>
        ) : (
          <Detail
            key={chosen}
            number={chosen}
            table={tables.find(({ number }) => number === chosen)}
            orders={chosen === TAKEAWAY ? takeaway : orders.filter((order) => order.tableNumber === chosen && isOpen(order))}
            tickets={tickets}
            onClose={() => setChosen(null)}
          />
        )}
      </main>
    </Frame>
  );
}

/** Whether the bill that this dish is on is still open. */
function isAtTable({ orderDocumentId }: Ticket, orders: Order[]): boolean {
  const order = orders.find(({ documentId }) => documentId === orderDocumentId);
  return order !== undefined && order.status !== 'paid' && order.status !== 'cancelled';
}

interface TileProps {
  name: string;
  about: string;
  isFree: boolean;
  tickets: Ticket[];
  isChosen: boolean;
  onChoose: () => void;
}

function TableTile({ name, about, isFree, tickets, isChosen, onChoose }: TileProps) {
  const now = useNow();
  const count = (...statuses: string[]) => tickets.filter(({ status }) => statuses.includes(status)).length;
  const ready = count('ready');
  const waiting = count('new', 'cooking');
  const oldest = Math.min(...tickets.filter(({ status }) => status === 'new' || status === 'cooking').map(({ createdAt }) => Date.parse(createdAt)));
  const state = ready > 0 ? 'ready' : waiting > 0 ? 'waiting' : isFree ? 'free' : 'served';
  return (
    <button className="tile" data-table={name} data-state={state} aria-pressed={isChosen} onClick={onChoose}>
      <b>{name}</b>
      <span className="state">
        {state === 'ready' && `${ready} ready`}
        {state === 'waiting' && `${waiting} to come`}
        {state === 'served' && 'Served'}
        {state === 'free' && 'Free'}
      </span>
      <span className="about">{Number.isFinite(oldest) ? duration(now - oldest) : about}</span>
    </button>
  );
}

interface DetailProps {
  number: number;
  table: Table | undefined;
  orders: Order[];
  tickets: Ticket[];
  onClose: () => void;
}

function Detail({ number, table, orders, tickets, onClose }: DetailProps) {
  const restaurant = useRestaurant();
  const toast = useToast();
  const [isOrdering, setIsOrdering] = useState(false);
  useTableEvents(number, {
    onOrderCreated: restaurant.orderCreated,
    onTicketCreated: restaurant.ticketCreated,
    onTicketStatusChanged: restaurant.ticketStatusChanged,
    onTableStatusChanged: restaurant.tableStatusChanged,
  });
  const isTakeaway = number === TAKEAWAY;
  const total = orders.reduce((sum, { totalAmount }) => sum + totalAmount, 0);
  const isDone = orders.length > 0 && orders.every(({ status }) => status === 'served');

  const attempt = async (work: () => Promise<unknown>) => {
    try {
      await work();
      restaurant.catchUp();
    } catch (error) {
      const why = error instanceof Refused ? error.message : 'nobody answers; try again';
      toast({ text: `Not done: ${why}`, tone: 'critical' });
    }
  };

  if (isOrdering) {
    return (
      <section className="detail" aria-label="New order">
        <OrderForm tableNumber={isTakeaway ? null : number} onDone={() => setIsOrdering(false)} />
      </section>
    );
  }
  return (
    <section className="detail" aria-label={isTakeaway ? 'Takeaway' : `Table ${number}`}>
      <header>
        <button className="tool" aria-label="All tables" onClick={onClose}>
          <Icon name="back" />
        </button>
        <h2>{isTakeaway ? 'Takeaway' : `Table ${number}`}</h2>
        {table && <span className="about">{table.seats} seats</span>}
      </header>
      <div className="orders">
        {orders.length === 0 && <p className="none">Nothing ordered yet.</p>}
        {orders.map((order) => (
          <OrderCard
            key={order.documentId}
            order={order}
            tickets={tickets.filter(({ orderDocumentId }) => orderDocumentId === order.documentId)}
            onServe={(ticket) => restaurant.moveTicket(ticket.documentId, 'served')}
            onCancel={() => attempt(() => api.cancelOrder(order.documentId, 'guest changed their mind'))}
          />
        ))}
      </div>
      <footer>
        <button className="primary" onClick={() => setIsOrdering(true)}>
          New order
        </button>
        {!isTakeaway && (
          <button disabled={!isDone} onClick={() => attempt(() => api.payTable(number))}>
            {total > 0 ? `Paid ${money(total)}` : 'Paid'}
          </button>
        )}
      </footer>
    </section>
  );
}

interface OrderCardProps {
  order: Order;
  tickets: Ticket[];
  onServe: (ticket: Ticket) => void;
  onCancel: () => void;
}

function OrderCard({ order, tickets, onServe, onCancel }: OrderCardProps) {
  const [isSure, setIsSure] = useState(false);
  const canCancel = order.status !== 'served';
  return (
    <article className="order" data-order={order.documentId} data-status={order.status}>
      <h3>
        Order {order.orderNumber} <span>{money(order.totalAmount)}</span>
      </h3>
      <ul>
        {tickets.map((ticket) => (
          <li key={ticket.documentId} data-status={ticket.status}>
            <span className="dish">
              <b>{ticket.quantity}×</b> {ticket.menuItemName}
              {ticket.note && <small>{ticket.note}</small>}
            </span>
            {ticket.status === 'ready' ? (
              <button className="serve" onClick={() => onServe(ticket)}>
                <Icon name="check" />
                Serve
              </button>
            ) : (
              <span className="status">
                {{ new: 'Waiting', cooking: 'Cooking', served: 'Served', cancelled: 'Cancelled' }[ticket.status]}
              </span>
            )}
          </li>
        ))}
      </ul>
      {canCancel && (
        <button className="quiet" onClick={() => (isSure ? onCancel() : setIsSure(true))} onBlur={() => setIsSure(false)}>
          {isSure ? 'Touch again to cancel the order' : 'Cancel order'}
        </button>
      )}
    </article>
  );
}
