// A hook of the chat, as it was written for Socket.IO.

import { useEffect, useState } from 'react';
import { io } from 'socket.io-client';

export function useChatUpdates(url, token) {
  const [updates, setUpdates] = useState([]);
  const [messages, setMessages] = useState([]);

  useEffect(() => {
    const socket = io(url, { auth: { token } });
    socket.on('chat3:update', (update) => setUpdates((list) => [...list, update]));
    socket.on('message:new', (message) => setMessages((list) => [...list, message]));
    return () => socket.disconnect();
  }, [url, token]);

  return { updates, messages };
}

export function Chat({ url, token }) {
  const { updates, messages } = useChatUpdates(url, token);
  return (
    <main>
      <ul id="updates">{updates.map(({ _id, eventType }) => <li key={_id}>{eventType}</li>)}</ul>
      <ul id="messages">{messages.map(({ content }) => <li key={content}>{content}</li>)}</ul>
    </main>
  );
}
