// The kitchen display: a column for each station, and the pass where dishes wait to
// be carried out. A touch moves a ticket one step on.

import { useEffect, useMemo, useRef, useState } from 'react';

import type { Menu, Ticket } from '../data/api';
import { duration, serverNow, useNow } from '../data/clock';
import { alarm, chime } from '../data/sound';
import { useMenu } from '../data/use-menu';
import { useRestaurant, useView } from '../data/use-restaurant';
import { useChannel, useKitchenEvents } from '../hooks/use-pusher';
import { useSetting, useWakeLock } from '../hooks/use-display';
import { CHANNELS, EVENTS, type LowStock, type TicketStatus } from '../lib/websocket-events';
import { Frame, Nothing, Tool } from '../parts/frame';
import { Icon } from '../parts/icons';
import { useRefusals, useToast } from '../parts/toasts';

const ALL = 'all';
const NO_STATIONS: Menu['stations'] = [];
const PASS = { id: 'pass', name: 'Pass' };

/** A cancelled ticket stays until somebody has seen it, at most for this time. */
const CANCELLED_SHOWN_MS = 120_000;

/** Share of the time after which a ticket is due soon. The back end warns then too. */
const SOON_SHARE = 0.8;

const NEXT: Record<string, TicketStatus> = { new: 'cooking', cooking: 'ready', ready: 'served' };

export function Kitchen() {
  const restaurant = useRestaurant();
  const { tickets, knownAt } = useView();
  const toast = useToast();
  const [isLoud, setIsLoud] = useSetting('sound', 'on');
  const [chosen, setChosen] = useSetting('station', ALL);
  const [seen, setSeen] = useState<ReadonlySet<string>>(new Set());
  const menu = useMenu();
  useWakeLock();

  useKitchenEvents({
    onTicketCreated: restaurant.ticketCreated,
    onTicketStatusChanged: restaurant.ticketStatusChanged,
    onOrderCancelled: ({ orderNumber, reason }) => {
      toast({ text: `Order ${orderNumber} is cancelled${reason ? `: ${reason}` : ''}`, tone: 'critical' });
    },
    onSlaBreach: () => {
      if (isLoud === 'on') {
        alarm();
      }
    },
  });
  useChannel(CHANNELS.ALERTS, {
    [EVENTS.STORAGE_LOW_STOCK]: ({ ingredientName, currentStock, unit, severity }: LowStock) => {
      toast({ text: `${ingredientName}: only ${currentStock} ${unit} left`, tone: severity });
    },
  });

  const columns = useColumns(tickets, menu?.stations ?? NO_STATIONS, seen);
  useChime(tickets, knownAt > 0, chosen, isLoud === 'on');
  useRefusals();

  const bump = (ticket: Ticket) => {
    const next = NEXT[ticket.status];
    if (!next) {
      setSeen((before) => new Set(before).add(ticket.documentId));
      return;
    }
    restaurant.moveTicket(ticket.documentId, next);
    toast({
      text: `${ticket.menuItemName}, ${place(ticket)}: ${next}`,
      tone: 'plain',
      action: { label: 'Undo', run: () => restaurant.moveTicket(ticket.documentId, ticket.status) },
    });
  };

  const isAll = chosen === ALL || !columns.some(({ id }) => id === chosen);
  const shown = isAll ? columns : columns.filter(({ id }) => id === chosen);
  const isQuiet = shown.every((column) => column.tickets.length === 0);
  return (
    <Frame
      title="Kitchen"
      bar={<Stations columns={columns} chosen={isAll ? ALL : chosen} onChoose={setChosen} />}
      tools={
        <Tool
          label={isLoud === 'on' ? 'Sound is on' : 'Sound is off'}
          icon={isLoud === 'on' ? 'sound' : 'silence'}
          isOn={isLoud === 'on'}
          onClick={() => setIsLoud(isLoud === 'on' ? 'off' : 'on')}
        />
      }
    >
      <main className={isAll ? 'kitchen' : 'kitchen single'}>
        {isQuiet ? (
          <Nothing title="All done">New tickets appear here by themselves.</Nothing>
        ) : (
          shown.map((column) => (
            <section key={column.id} className="column" data-station={column.id} aria-label={column.name}>
              <h2>
                {column.name} <span>{column.tickets.length}</span>
              </h2>
              <ol>
                {column.tickets.map((ticket) => (
                  <li key={ticket.documentId}>
                    <TicketCard ticket={ticket} onBump={bump} />
                  </li>
                ))}
              </ol>
            </section>
          ))
        )}
      </main>
    </Frame>
  );
}

interface Column {
  id: string;
  name: string;
  tickets: Ticket[];
}

function Stations({ columns, chosen, onChoose }: { columns: Column[]; chosen: string; onChoose: (id: string) => void }) {
  const all = columns.reduce((sum, { tickets }) => sum + tickets.length, 0);
  return (
    <nav className="stations" aria-label="Stations">
      {[{ id: ALL, name: 'All', count: all }, ...columns.map(({ id, name, tickets }) => ({ id, name, count: tickets.length }))].map(
        ({ id, name, count }) => (
          <button key={id} aria-pressed={id === chosen} onClick={() => onChoose(id)}>
            {name} {count > 0 && <span>{count}</span>}
          </button>
        ),
      )}
    </nav>
  );
}

function TicketCard({ ticket, onBump }: { ticket: Ticket; onBump: (ticket: Ticket) => void }) {
  const now = useNow();
  const { status, createdAt, startedAt, readyAt, slaSeconds, quantity, note, priority } = ticket;
  const end = status === 'ready' && readyAt ? Date.parse(readyAt) : now;
  const age = Math.max(0, end - Date.parse(createdAt));
  const share = age / 1_000 / slaSeconds;
  const level = share >= 1 ? 'late' : share >= SOON_SHARE ? 'soon' : 'fine';
  return (
    <button
      className="ticket"
      data-ticket={ticket.documentId}
      data-status={status}
      data-level={level}
      onClick={() => onBump(ticket)}
      aria-label={`${quantity || ''} ${ticket.menuItemName}, ${place(ticket)}, ${status}${priority === 'high' ? ', rush' : ''}`}
    >
      <span className="head">
        <b className="place">{shortPlace(ticket)}</b>
        {priority === 'high' && (
          <em className="rush">
            <Icon name="bolt" />
            <span>Rush</span>
          </em>
        )}
        {status !== 'cancelled' && <time className="age">{duration(status === 'ready' && readyAt ? now - Date.parse(readyAt) : age)}</time>}
      </span>
      <span className="dish">
        {quantity > 0 && <b>{quantity}×</b>} {ticket.menuItemName}
      </span>
      {note && <span className="note">{note}</span>}
      <span className="foot">
        <span className="status">
          {{ new: 'New', cooking: 'Cooking', ready: 'Ready', served: 'Served', cancelled: 'Cancelled' }[status]}
          {status === 'cooking' && startedAt && <span> {duration(now - Date.parse(startedAt))}</span>}
        </span>
        <span className="number">{ticket.ticketNumber}</span>
      </span>
      {(status === 'new' || status === 'cooking') && (
        <span className="progress">
          <span style={{ inlineSize: `${Math.min(100, share * 100)}%` }} />
        </span>
      )}
    </button>
  );
}

function useColumns(tickets: Ticket[], stations: Menu['stations'], seen: ReadonlySet<string>): Column[] {
  return useMemo(() => {
    const columns = new Map([...stations, PASS].map(({ id, name }) => [id, { id, name, tickets: [] as Ticket[] }]));
    const oldestCancelled = serverNow() - CANCELLED_SHOWN_MS;
    for (const ticket of tickets) {
      const { status, station, version, documentId } = ticket;
      const isNews = status === 'cancelled' && version > oldestCancelled && !seen.has(documentId);
      if (status === 'new' || status === 'cooking' || isNews) {
        columns.get(station)?.tickets.push(ticket);
      } else if (status === 'ready') {
        columns.get(PASS.id)?.tickets.push(ticket);
      }
    }
    columns.forEach((column) => column.tickets.sort(byUrgency));
    return [...columns.values()];
  }, [tickets, stations, seen]);
}

function byUrgency(one: Ticket, other: Ticket): number {
  const rush = Number(other.priority === 'high') - Number(one.priority === 'high');
  return rush || one.createdAt.localeCompare(other.createdAt) || one.ticketNumber.localeCompare(other.ticketNumber);
}

/** Sounds for tickets that were not there before, at the station that is shown. */
function useChime(tickets: Ticket[], isKnown: boolean, station: string, isLoud: boolean): void {
  const known = useRef<Set<string> | null>(null);
  useEffect(() => {
    // What is there when the page is opened is no news.
    if (!isKnown) {
      return;
    }
    const open = tickets.filter(({ status }) => status === 'new');
    const before = known.current;
    known.current = new Set(tickets.map(({ documentId }) => documentId));
    if (before && isLoud) {
      const isNews = open.some((ticket) => !before.has(ticket.documentId) && (station === ALL || ticket.station === station));
      if (isNews) {
        chime();
      }
    }
  }, [tickets, isKnown, station, isLoud]);
}

function place({ tableNumber, orderNumber }: Ticket): string {
  return tableNumber === null ? `takeaway ${orderNumber}` : `table ${tableNumber}`;
}

function shortPlace({ tableNumber, orderNumber }: Ticket): string {
  return tableNumber === null ? `#${orderNumber}` : `T${tableNumber}`;
}
