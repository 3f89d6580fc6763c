/** What a later visit without a network needs; the rest of what a page loads is not kept. */
const KEPT = /^\/(?:assets|excalidraw)\//;

/** Has the client kept by a service worker, where there may be one: see `public/sw.js`. */
export async function keepForOffline(): Promise<void> {
  if (!import.meta.env.PROD || !("serviceWorker" in navigator)) return;
  try {
    await navigator.serviceWorker.register("/sw.js");
    const { active } = await navigator.serviceWorker.ready;
    // It sees only what is loaded once it is in control, and some of this page's files are
    // loaded before that, or just then.
    new PerformanceObserver((entries) => {
      const paths = entries
        .getEntries()
        .map(({ name }) => new URL(name))
        .filter(({ origin, pathname }) => origin === location.origin && KEPT.test(pathname))
        .map(({ pathname }) => pathname);
      if (paths.length > 0) active?.postMessage(paths);
    }).observe({ type: "resource", buffered: true });
  } catch {
    // Refused by the browser: everything works but a reload without a network.
  }
}
