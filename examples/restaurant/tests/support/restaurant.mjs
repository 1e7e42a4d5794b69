// The whole restaurant: a server, the back end and a browser.

import { startServer } from '../../../../tests/sdk/support/server.mjs';
import { credentials, startBackEnd } from './back_end.mjs';
import { openScreen, startBrowser } from './screens.mjs';

export async function startRestaurant(t, { server: settings, environment } = {}) {
  const server = await startServer(t, { app: 'history = [{ channels = "*" }]', ...settings });
  const backEnd = await startBackEnd(t, { ...credentials(server), ...environment?.(server) });
  const browser = await startBrowser(t);
  const open = (path, device) => openScreen(browser, backEnd.url, path, device);
  return { server, backEnd, open };
}
