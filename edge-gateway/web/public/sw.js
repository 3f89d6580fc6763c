// Keeps the client itself in the browser, so that a room can be reloaded without a network
// and what is unsent is not out of reach. What rooms hold is not kept here.

const CACHE = "roomkeeper";
const SHELL = "/";
/** Files whose address changes with their content. */
const IMMUTABLE = /^\/(?:assets|excalidraw)\//;
/** The others; each is asked for anew where that is possible. */
const FILES = ["/boot.js", "/favicon.svg"];

self.addEventListener("install", (event) => {
  event.waitUntil(
    caches
      .open(CACHE)
      .then((cache) => cache.addAll([SHELL, ...FILES]))
      .then(() => self.skipWaiting()),
  );
});

self.addEventListener("activate", (event) => {
  event.waitUntil(self.clients.claim());
});

// What the page had loaded before this worker was there.
self.addEventListener("message", (event) => {
  const paths = Array.isArray(event.data) ? event.data.filter((path) => IMMUTABLE.test(path)) : [];
  event.waitUntil(
    caches.open(CACHE).then((cache) => Promise.allSettled(paths.map((path) => fromCache(cache, path)))),
  );
});

self.addEventListener("fetch", (event) => {
  const { request } = event;
  const { origin, pathname } = new URL(request.url);
  if (request.method !== "GET" || origin !== self.location.origin) return;
  const answer = (respond) => event.respondWith(caches.open(CACHE).then(respond));
  if (IMMUTABLE.test(pathname)) answer((cache) => fromCache(cache, pathname));
  else if (FILES.includes(pathname)) answer((cache) => fromNetwork(cache, request, pathname));
  else if (request.mode === "navigate" && (pathname === "/" || pathname.startsWith("/r/"))) {
    answer((cache) => fromNetwork(cache, request, SHELL));
  }
});

async function fromCache(cache, path) {
  const kept = await cache.match(path);
  if (kept) return kept;
  const response = await fetch(path);
  if (response.ok) await cache.put(path, response.clone());
  return response;
}

async function fromNetwork(cache, request, path) {
  try {
    const response = await fetch(request);
    // A proxy's answer for a gateway that is away is no better than none.
    if (response.status >= 500) return (await cache.match(path)) ?? response;
    if (!response.ok) return response;
    if (path === SHELL) await forgetOthers(cache, response);
    await cache.put(path, response.clone());
    return response;
  } catch (error) {
    const kept = await cache.match(path);
    if (kept) return kept;
    throw error;
  }
}

/** Drops the files of another version of the client when its first page has changed. */
async function forgetOthers(cache, response) {
  const kept = await cache.match(SHELL);
  if (!kept || kept.headers.get("etag") === response.headers.get("etag")) return;
  for (const { url } of await cache.keys()) {
    if (IMMUTABLE.test(new URL(url).pathname)) await cache.delete(url);
  }
}
