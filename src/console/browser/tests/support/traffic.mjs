// What happens on the server while somebody looks: clients of two apps, and their back
// ends.

import { connect, serverSdk, subscribe } from '../../../../../tests/sdk/support/clients.mjs';
import { startBackEnd } from '../../../../../tests/sdk/support/back_end.mjs';
import { atEnd } from '../../../../../tests/sdk/support/cleanup.mjs';
import { SECOND, SECRET } from './console.mjs';

/** Clients of each app. */
const CLIENTS = 100;

/** Pause between two events of a back end. */
const PAUSE_MS = 250;

/** Starts it for the test `t`; resolves when all clients are there. */
export async function startTraffic(t, server) {
  const sdk = serverSdk(server, { secret: SECRET });
  const second = serverSdk(server, { appId: SECOND.id, key: SECOND.key, secret: SECOND.secret });
  const backEnd = await startBackEnd(t, sdk);
  const all = await Promise.all(
    Array.from({ length: CLIENTS }, async (_, number) => {
      const one = await connect(t, server);
      await subscribe(one, `orders-${number % 5}`);
      const other = await connect(t, server, { key: SECOND.key });
      await subscribe(other, 'news');
      return one;
    }),
  );
  const asUser = (user) => ({ authEndpoint: `${backEnd}/pusher/auth`, auth: { params: { user } } });
  const cook = await connect(t, server, asUser('zoë'));
  const kitchen = await subscribe(cook, 'presence-kitchen');
  let id = 0;
  const timer = setInterval(() => {
    id += 1;
    // The last ones may come when the server is gone.
    sdk.trigger(`orders-${id % 5}`, 'order.created', { id, table: id % 12, items: ['borscht', 'tea'] }).catch(() => {});
    second.trigger('news', 'headline', { text: `News ${id}` }).catch(() => {});
    kitchen.trigger('client-bump', { id });
  }, PAUSE_MS);
  atEnd(t, () => clearInterval(timer));
  return { sdk, cook, clients: all };
}
