/** Small things that this browser remembers; where it does not, they last for the page. */

import { useSyncExternalStore } from "react";

/** A value under a key of local storage, shared by all of the browser's tabs. */
export class Remembered<T> {
  readonly #key: string;
  readonly #read: (stored: string) => T;
  readonly #write: (value: T) => string;
  readonly #listeners = new Set<() => void>();
  #value: T;
  #isStored = true;

  /** `read` makes a value of whatever text was found; of an empty one where there was none. */
  constructor(name: string, read: (stored: string) => T, write: (value: T) => string = String) {
    this.#key = `roomkeeper.${name}`;
    this.#read = read;
    this.#write = write;
    this.#value = this.#load();
    window.addEventListener("storage", ({ key }) => {
      if (key === this.#key) this.#changed(this.#load());
    });
  }

  get value(): T {
    return this.#value;
  }

  /** Whether the last value that was set is kept over a reload. */
  get isStored(): boolean {
    return this.#isStored;
  }

  set(value: T): void {
    try {
      localStorage.setItem(this.#key, this.#write(value));
      this.#isStored = true;
    } catch {
      // Storage is closed or full: the page goes on with what it has in memory.
      this.#isStored = false;
    }
    this.#changed(value);
  }

  /** The value, and again whenever it changes. */
  use(): T {
    return useSyncExternalStore(this.#subscribe, () => this.#value);
  }

  readonly #subscribe = (listener: () => void): (() => void) => {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  };

  #changed(value: T): void {
    this.#value = value;
    for (const listener of this.#listeners) listener();
  }

  #load(): T {
    try {
      return this.#read(localStorage.getItem(this.#key) ?? "");
    } catch {
      return this.#read("");
    }
  }
}
