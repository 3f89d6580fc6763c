/** Light or dark: the system's choice, until the person makes one. */

import { useSyncExternalStore } from "react";

import { Remembered } from "./storage";

export type Theme = "light" | "dark";

const chosen = new Remembered<Theme | "">("theme", (stored) =>
  stored === "light" || stored === "dark" ? stored : "");

const system = window.matchMedia("(prefers-color-scheme: dark)");

export function useTheme(): Theme {
  const own = chosen.use();
  const isDark = useSyncExternalStore(
    (changed) => {
      system.addEventListener("change", changed);
      return () => system.removeEventListener("change", changed);
    },
    () => system.matches,
  );
  return own || (isDark ? "dark" : "light");
}

export function chooseTheme(theme: Theme): void {
  document.documentElement.dataset["theme"] = theme;
  chosen.set(theme);
}
