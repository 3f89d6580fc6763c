/** The two kinds of pages, and the way between them. */

import { useSyncExternalStore } from "react";

export type Route = { page: "rooms" } | { page: "room"; code: string };

const listeners = new Set<() => void>();
window.addEventListener("popstate", () => listeners.forEach((listener) => listener()));

export function useRoute(): Route {
  const path = useSyncExternalStore(
    (listener) => {
      listeners.add(listener);
      return () => listeners.delete(listener);
    },
    () => location.pathname,
  );
  const code = /^\/r\/(\d{6})\/?$/.exec(path)?.[1];
  return code ? { page: "room", code } : { page: "rooms" };
}

export function go(path: string): void {
  history.pushState(null, "", path);
  for (const listener of listeners) listener();
  window.scrollTo(0, 0);
}

export function roomPath(code: string): string {
  return `/r/${code}`;
}

/** The address that opens a room. */
export function roomLink(code: string): string {
  return `${location.origin}${roomPath(code)}`;
}
