/**
 * What the server has not confirmed, kept in IndexedDB over a reload: messages with their
 * request ids, and elements.
 *
 * All tabs of a browser share the database, so each tab adds and removes what is its own, and
 * never writes the whole. Elements need no request id: merging one twice changes nothing.
 *
 * The database may go away while the page is open. So each tab also holds in memory what it
 * has written, and writes all of it again to the database that it opens next. As long as that
 * fails, the owner of the outbox knows it.
 */

import { Database } from "../browser/database";
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

type VersionId = [id: string, version: number, versionNonce: number];

interface UnsentElement {
  code: string;
  /** The element's id, or with `leaveElements` that of one version. */
  id: string | VersionId;
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

/** How long after a failure everything is written again, in milliseconds. */
const RETRY_AFTER = 2000;

const NOTHING: Unsent = { messages: [], elements: [] };

export class Outbox {
  readonly #code: string;
  readonly #keeps: (keeps: boolean) => void;
  readonly #database: Database;
  /** What this tab wants to be kept. */
  readonly #messages = new Map<string, UnsentMessage>();
  readonly #elements = new Map<string, UnsentElement>();
  /** How often the database was lost, and how often that was when all of it was written. */
  #losses = 0;
  #written = 0;
  #isKeeping = true;
  #timer: ReturnType<typeof setTimeout> | undefined;
  #isClosed = false;

  /** `keeps` is called with false when nothing can be kept any more, and with true when it can again. */
  constructor(code: string, keeps: (keeps: boolean) => void) {
    this.#code = code;
    this.#keeps = keeps;
    this.#database = new Database("roomkeeper", createStores, () => this.#lost());
  }

  /** What this browser has kept for the room; of the messages those of this user. */
  async load(userId: string): Promise<Unsent> {
    try {
      const found = await this.#database.run([MESSAGES, ELEMENTS], (transaction) => {
        const store = transaction.objectStore(ELEMENTS);
        const elements = this.#kept<UnsentElement>(store);
        elements.onsuccess = () => this.#adopt(store, elements.result);
        return { messages: this.#kept<UnsentMessage>(transaction.objectStore(MESSAGES)), elements };
      });
      const messages = found.messages.result.filter((message) => message.userId === userId);
      const elements = [...newest(found.elements.result).values()];
      messages.sort((a, b) => a.createdAt - b.createdAt);
      for (const message of messages) this.#messages.set(message.requestId, message);
      for (const row of elements) this.#elements.set(row.element.id, row);
      this.#tell(true);
      return { messages, elements };
    } catch (error) {
      this.#failed(error);
      return NOTHING;
    }
  }

  keepMessage(message: UnsentMessage): Promise<void> {
    this.#messages.set(message.requestId, message);
    return this.#write(MESSAGES, (store) => {
      // A second attempt may come after the message was dropped.
      if (this.#messages.get(message.requestId) === message) store.put(message);
    });
  }

  dropMessage(requestId: string): Promise<void> {
    this.#messages.delete(requestId);
    return this.#write(MESSAGES, (store) => store.delete(requestId));
  }

  /** Adds these elements, except where another tab has a newer version. */
  keepElements(epoch: number, elements: readonly WireElement[]): Promise<void> {
    const kept = elements.map((element) => this.#rowOf(epoch, element));
    for (const row of kept) this.#elements.set(row.element.id, row);
    return this.#write(ELEMENTS, (store) => {
      for (const row of kept) {
        // A second attempt may come after the element was dropped, or changed.
        if (this.#elements.get(row.element.id) === row) this.#put(store, row);
      }
    });
  }

  /**
   * As `keepElements`, for a page that is going away. The browser aborts a transaction that
   * still reads what another tab has. So this one only writes: each version gets a row of its
   * own, and the next page that loads the rows keeps the newest version.
   */
  leaveElements(epoch: number, elements: readonly WireElement[]): Promise<void> {
    const kept = elements.map((element) => this.#rowOf(epoch, element));
    for (const row of kept) this.#elements.set(row.element.id, row);
    return this.#write(ELEMENTS, (store) => {
      for (const row of kept) store.put({ ...row, id: versionId(row.element) });
      // After a loss of the database, the same transaction reads and writes more.
      if (this.#written === this.#losses) store.transaction.commit();
    });
  }

  /** Removes these elements, except where another tab has a newer version. */
  dropElements(elements: readonly WireElement[]): Promise<void> {
    for (const { id } of elements) this.#elements.delete(id);
    return this.#write(ELEMENTS, (store) => {
      for (const element of elements) {
        // A page that was going away may have come back.
        store.delete([this.#code, versionId(element)]);
        this.#unlessNewer(store, element, () => store.delete([this.#code, element.id]));
      }
    });
  }

  close(): void {
    this.#isClosed = true;
    clearTimeout(this.#timer);
    this.#database.close();
  }

  #rowOf(epoch: number, element: WireElement): UnsentElement {
    return { code: this.#code, id: element.id, epoch, element, createdAt: Date.now() };
  }

  /** Replaces the rows of single versions by one row of the newest version. `rows` are all rows of this room. */
  #adopt(store: IDBObjectStore, rows: readonly UnsentElement[]): void {
    const kept = newest(rows);
    for (const { id, element } of rows) {
      if (id === element.id) continue;
      store.delete([this.#code, id]);
      store.put(kept.get(element.id));
    }
  }

  #put(store: IDBObjectStore, kept: UnsentElement): void {
    this.#unlessNewer(store, kept.element, () => store.put(kept));
  }

  #unlessNewer(store: IDBObjectStore, element: WireElement, act: () => void): void {
    const request = store.get([this.#code, element.id]);
    request.onsuccess = () => {
      const kept = request.result as UnsentElement | undefined;
      if (!kept || !wins(kept.element, element)) act();
    };
  }

  /** Removes what is too old, and reads what is kept for this room. */
  #kept<T>(store: IDBObjectStore): IDBRequest<T[]> {
    const old = store.index(BY_TIME).openKeyCursor(IDBKeyRange.upperBound(Date.now() - KEPT_FOR));
    old.onsuccess = () => {
      if (!old.result) return;
      store.delete(old.result.primaryKey);
      old.result.continue();
    };
    return store.index(BY_CODE).getAll(this.#code);
  }

  /**
   * Makes a change, and writes everything again if the database was lost since that was done.
   * Resolves as soon as nothing is gained by waiting.
   *
   * A removal that fails is not repeated. What it leaves behind is sent again by a later visit,
   * and that changes nothing.
   */
  #write(name: string, change?: (store: IDBObjectStore) => void): Promise<void> {
    const written = this.#commit(name, change);
    return this.#isKeeping ? written : Promise.resolve();
  }

  async #commit(name: string, change?: (store: IDBObjectStore) => void): Promise<void> {
    try {
      const losses = await this.#database.run([MESSAGES, ELEMENTS], (transaction) => {
        if (this.#written !== this.#losses) this.#putAll(transaction);
        change?.(transaction.objectStore(name));
        return this.#losses;
      });
      this.#written = losses;
      // If it was lost again meanwhile, everything is about to be written again.
      if (losses === this.#losses) this.#tell(true);
    } catch (error) {
      this.#failed(error);
    }
  }

  #putAll(transaction: IDBTransaction): void {
    for (const message of this.#messages.values()) transaction.objectStore(MESSAGES).put(message);
    for (const element of this.#elements.values()) this.#put(transaction.objectStore(ELEMENTS), element);
  }

  #lost(): void {
    this.#losses += 1;
    this.#writeAllAfter(0);
  }

  /** A full disk, or a database that is closed to this page. What is made is sent from memory. */
  #failed(error: unknown): void {
    if (this.#isClosed) return;
    console.warn("what is not sent cannot be kept", error);
    this.#tell(false);
    this.#writeAllAfter(RETRY_AFTER);
  }

  #writeAllAfter(wait: number): void {
    if (this.#isClosed) return;
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => {
      if (this.#written !== this.#losses || !this.#isKeeping) void this.#write(MESSAGES);
    }, wait);
  }

  #tell(keeps: boolean): void {
    if (keeps === this.#isKeeping) return;
    this.#isKeeping = keeps;
    this.#keeps(keeps);
  }
}

/** No id of an element is a list. */
function versionId({ id, version, versionNonce }: WireElement): VersionId {
  return [id, version, versionNonce];
}

/** The newest version of each element, under the element's id. */
function newest(rows: readonly UnsentElement[]): Map<string, UnsentElement> {
  const kept = new Map<string, UnsentElement>();
  for (const row of rows) {
    const { id } = row.element;
    const other = kept.get(id);
    if (!other || wins(row.element, other.element)) kept.set(id, { ...row, id });
  }
  return kept;
}

function createStores(database: IDBDatabase): void {
  const messages = database.createObjectStore(MESSAGES, { keyPath: "requestId" });
  const elements = database.createObjectStore(ELEMENTS, { keyPath: ["code", "id"] });
  for (const store of [messages, elements]) {
    store.createIndex(BY_CODE, "code");
    store.createIndex(BY_TIME, "createdAt");
  }
}
