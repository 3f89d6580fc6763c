/**
 * What the server has not confirmed, kept over a reload: messages with their request ids,
 * and elements. In IndexedDB; where that is closed to us, nothing is kept and all else works.
 *
 * All tabs of a browser share it, so each tab adds and removes what is its own, and never
 * writes the whole. Elements need no request id: merging one twice changes nothing.
 */

import { wins } from "../board/sync";
import type { WireElement } from "../protocol/payloads";

export interface UnsentMessage {
  requestId: string;
  code: string;
  /** The room's epoch when it was written; a code that is used again is another room. */
  epoch: number;
  userId: string;
  text: string;
  createdAt: number;
}

interface UnsentElement {
  code: string;
  id: string;
  epoch: number;
  element: WireElement;
  createdAt: number;
}

export interface Unsent {
  messages: UnsentMessage[];
  elements: { epoch: number; element: WireElement }[];
}

const MESSAGES = "messages";
const ELEMENTS = "elements";
const BY_CODE = "code";
const BY_TIME = "createdAt";

/** Rooms end a day after their last activity; what waits for one so much longer waits in vain. */
const KEPT_FOR = 7 * 24 * 3_600_000;

/** A store that takes longer is done without: what is made goes on to the server. */
const PATIENCE = 1500;

const NOTHING: Unsent = { messages: [], elements: [] };

export class Outbox {
  readonly #code: string;
  #database: Promise<IDBDatabase | undefined>;

  constructor(code: string) {
    this.#code = code;
    this.#database = soon(open(), undefined);
  }

  load(): Promise<Unsent> {
    return soon(this.#load(), NOTHING);
  }

  keepMessage(message: UnsentMessage): Promise<void> {
    return this.#write(MESSAGES, (store) => store.put(message));
  }

  dropMessage(requestId: string): Promise<void> {
    return this.#write(MESSAGES, (store) => store.delete(requestId));
  }

  /** Adds these elements, except where another tab has a newer version. */
  keepElements(epoch: number, elements: readonly WireElement[]): Promise<void> {
    return this.#write(ELEMENTS, (store) => {
      for (const element of elements) {
        this.#unlessNewer(store, element, () =>
          store.put({ code: this.#code, id: element.id, epoch, element, createdAt: Date.now() } satisfies UnsentElement));
      }
    });
  }

  /** Removes these elements, except where another tab has a newer version. */
  dropElements(elements: readonly WireElement[]): Promise<void> {
    return this.#write(ELEMENTS, (store) => {
      for (const element of elements) {
        this.#unlessNewer(store, element, () => store.delete([this.#code, element.id]));
      }
    });
  }

  async close(): Promise<void> {
    const database = await this.#database;
    this.#database = Promise.resolve(undefined);
    // Ends once what is under way has been written.
    database?.close();
  }

  #unlessNewer(store: IDBObjectStore, element: WireElement, act: () => void): void {
    const request = store.get([this.#code, element.id]);
    request.onsuccess = () => {
      const kept = request.result as UnsentElement | undefined;
      if (!kept || !wins(kept.element, element)) act();
    };
  }

  async #load(): Promise<Unsent> {
    const database = await this.#database;
    if (!database) return NOTHING;
    try {
      const transaction = database.transaction([MESSAGES, ELEMENTS], "readwrite");
      const all = <T>(name: string) => {
        const store = transaction.objectStore(name);
        const old = store.index(BY_TIME).openKeyCursor(IDBKeyRange.upperBound(Date.now() - KEPT_FOR));
        old.onsuccess = () => {
          if (!old.result) return;
          store.delete(old.result.primaryKey);
          old.result.continue();
        };
        return result<T[]>(store.index(BY_CODE).getAll(this.#code));
      };
      const [messages, elements] = await Promise.all([all<UnsentMessage>(MESSAGES), all<UnsentElement>(ELEMENTS)]);
      messages.sort((a, b) => a.createdAt - b.createdAt);
      return { messages, elements };
    } catch (error) {
      console.warn("what was not sent cannot be read", error);
      return NOTHING;
    }
  }

  #write(store: string, write: (store: IDBObjectStore) => void): Promise<void> {
    return soon(this.#written(store, write), undefined);
  }

  async #written(store: string, write: (store: IDBObjectStore) => void): Promise<void> {
    const database = await this.#database;
    if (!database) return;
    try {
      const transaction = database.transaction(store, "readwrite");
      write(transaction.objectStore(store));
      await new Promise<void>((resolve, reject) => {
        transaction.oncomplete = () => resolve();
        transaction.onabort = () => reject(transaction.error ?? new Error("aborted"));
      });
    } catch (error) {
      // A full disk: what is made is still in memory, and sent from there.
      console.warn("what is not sent cannot be kept", error);
    }
  }
}

function open(): Promise<IDBDatabase | undefined> {
  return new Promise((resolve) => {
    let request: IDBOpenDBRequest;
    try {
      request = indexedDB.open("roomkeeper", 1);
    } catch {
      resolve(undefined);
      return;
    }
    request.onupgradeneeded = () => {
      const messages = request.result.createObjectStore(MESSAGES, { keyPath: "requestId" });
      const elements = request.result.createObjectStore(ELEMENTS, { keyPath: ["code", "id"] });
      for (const store of [messages, elements]) {
        store.createIndex(BY_CODE, "code");
        store.createIndex(BY_TIME, "createdAt");
      }
    };
    request.onsuccess = () => resolve(request.result);
    request.onerror = () => resolve(undefined);
  });
}

function result<T>(request: IDBRequest): Promise<T> {
  return new Promise((resolve, reject) => {
    request.onsuccess = () => resolve(request.result as T);
    request.onerror = () => reject(request.error ?? new Error("failed"));
  });
}

/** A promise's value, or another where it takes too long. */
function soon<T>(promise: Promise<T>, otherwise: T): Promise<T> {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(() => resolve(otherwise), PATIENCE);
    promise.then(resolve, reject).finally(() => clearTimeout(timer));
  });
}
