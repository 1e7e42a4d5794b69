// The application under test: it takes orders and tells the kitchen.

import Pusher from 'pusher';

export function createOrders({ appId, key, secret, host, port }) {
  const pusher = new Pusher({ appId, key, secret, host, port, useTLS: false });
  let last = 0;
  return {
    async take(dish) {
      last += 1;
      const order = { id: last, dish };
      await pusher.trigger('kitchen', 'order.created', order);
      return order;
    },
  };
}
