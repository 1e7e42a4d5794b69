// Mounts what the address asks for: `?example=…&url=…&token=…`.

import { StrictMode, createElement } from 'react';
import { createRoot } from 'react-dom/client';
import { createApp } from 'vue';

import { CallCentre } from './call-centre.jsx';
import CallList from './call-list.vue';
import { Chat } from './chat-updates.jsx';

const { example, ...props } = Object.fromEntries(new URLSearchParams(location.search));
const place = document.querySelector('#page');

if (example === 'vue') {
  createApp(CallList, props).mount(place);
} else {
  const page = { 'call-centre': CallCentre, chat: Chat }[example];
  createRoot(place).render(<StrictMode>{createElement(page, props)}</StrictMode>);
}
