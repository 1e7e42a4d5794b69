// An application that knows only its credentials and its cluster, as it is
// written for hosted Pusher. Prints what it heard.

import { createRequire } from 'node:module';

const require = createRequire(import.meta.url);
const Back = require('pusher');
const Front = require('pusher-js');

const back = new Back({ appId: '3001', key: 'app-key', secret: 'app-secret', cluster: 'eu', useTLS: true });
const front = new (Front.default ?? Front.Pusher ?? Front)('app-key', { cluster: 'eu', forceTLS: true });

const channel = front.subscribe('orders');
channel.bind('order', (data) => {
  console.log(JSON.stringify({ heard: data }));
  front.disconnect();
});
channel.bind('pusher:subscription_succeeded', async () => {
  await back.trigger('orders', 'order', { id: 7 });
});
