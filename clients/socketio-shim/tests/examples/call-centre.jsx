// A page of the call centre, as it was written for Socket.IO.

import { useEffect, useState } from 'react';
import { io } from 'socket.io-client';

export function useRealtime(url, token, city) {
  const [isConnected, setConnected] = useState(false);
  const [calls, setCalls] = useState([]);
  const [orders, setOrders] = useState([]);
  const [notifications, setNotifications] = useState([]);
  const [joined, setJoined] = useState([]);

  useEffect(() => {
    const socket = io(url, { auth: { token }, transports: ['websocket', 'polling'] });

    socket.on('connect', () => {
      setConnected(true);
      socket.emit('authenticate', { token });
      for (const room of ['operators', `city:${city}`]) {
        socket.emit('join-room', { room }, (answer) => {
          setJoined((rooms) => [...rooms, `${room}: ${answer.success}`]);
        });
      }
    });
    socket.on('disconnect', (reason) => {
      console.log(`disconnected: ${reason}`);
      setConnected(false);
    });
    socket.on('connect_error', (error) => console.error(error.message));
    socket.on('call:new', (call) => setCalls((list) => [call, ...list]));
    socket.on('call:updated', (call) => {
      setCalls((list) => list.map((each) => (each.id === call.id ? { ...each, ...call } : each)));
    });
    socket.on('order:new', (order) => setOrders((list) => [order, ...list]));
    socket.on('notification', (notification) => setNotifications((list) => [notification, ...list]));

    return () => {
      socket.disconnect();
    };
  }, [url, token, city]);

  return { isConnected, calls, orders, notifications, joined };
}

export function CallCentre({ url, token, city }) {
  const { isConnected, calls, orders, notifications, joined } = useRealtime(url, token, city);
  return (
    <main>
      <p id="state">{isConnected ? 'online' : 'offline'}</p>
      <ul id="joined">{joined.map((room) => <li key={room}>{room}</li>)}</ul>
      <ul id="calls">{calls.map((call) => <li key={call.id}>{call.phoneClient} {call.status}</li>)}</ul>
      <ul id="orders">{orders.map((order, index) => <li key={index}>{order.clientName}, {order.city}</li>)}</ul>
      <ul id="notifications">{notifications.map(({ message }) => <li key={message}>{message}</li>)}</ul>
    </main>
  );
}
