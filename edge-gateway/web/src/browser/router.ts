/** The two kinds of pages, and the way between them. */

import { useSyncExternalStore } from "react";

import { codeIn } from "./codes";

/** A room's page has no code where its address names none. */
export type Route = { page: "rooms" } | { page: "room"; code: string | undefined };

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
  return path.startsWith("/r/") ? { page: "room", code: codeIn(path) } : { page: "rooms" };
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
