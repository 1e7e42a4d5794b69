// Keeps the page itself on the device, so that a display which is reloaded without
// network still starts. Data is never kept here: src/data/restaurant.ts does that.

const CACHE = 'restaurant';

self.addEventListener('install', (event) => {
  self.skipWaiting();
  event.waitUntil(fetch('/').then(keepPage));
});

self.addEventListener('activate', (event) => event.waitUntil(self.clients.claim()));

self.addEventListener('fetch', (event) => {
  const { request } = event;
  const { origin, pathname } = new URL(request.url);
  const isOurs = origin === self.location.origin && !pathname.startsWith('/api/') && pathname !== '/settings.json';
  if (request.method === 'GET' && isOurs) {
    event.respondWith(answer(event, request));
  }
});

/** From the network, and from what is kept while that is away. */
async function answer(event, request) {
  const cache = await caches.open(CACHE);
  const isPage = request.mode === 'navigate';
  // All pages are one document.
  const kept = await cache.match(isPage ? '/' : request);
  // Files under /assets/ never change under one name.
  if (kept && new URL(request.url).pathname.startsWith('/assets/')) {
    return kept;
  }
  try {
    const fresh = await fetch(request);
    if (isPage && fresh.ok) {
      event.waitUntil(keepPage(fresh.clone()));
    }
    return fresh;
  } catch (error) {
    if (kept) {
      return kept;
    }
    throw error;
  }
}

/** Keeps the page with the files that it names, and forgets those of an older one. */
async function keepPage(page) {
  const cache = await caches.open(CACHE);
  const html = await page.clone().text();
  const files = html.match(/\/(assets\/[\w.-]+|icon\.svg|manifest\.webmanifest)/g) ?? [];
  for (const { url } of await cache.keys()) {
    if (!files.includes(new URL(url).pathname)) {
      await cache.delete(url);
    }
  }
  for (const file of files) {
    if (!(await cache.match(file))) {
      await cache.add(file);
    }
  }
  // Last: a page without its files would be a white screen.
  await cache.put('/', page);
}
