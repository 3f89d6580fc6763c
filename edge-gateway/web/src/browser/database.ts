/**
 * An IndexedDB database that a browser may take away at any time: under memory pressure, or
 * when somebody clears the storage. A handle that has failed once is never used again.
 */

/** How long a transaction may take, in milliseconds. A slower database counts as failed. */
const PATIENCE = 1500;

export class Database {
  readonly #name: string;
  readonly #create: (database: IDBDatabase) => void;
  readonly #lost: () => void;
  #handle: Promise<IDBDatabase> | undefined;
  #isClosed = false;

  /** `create` makes the object stores; `lost` is called when a handle has gone, and perhaps the content with it. */
  constructor(name: string, create: (database: IDBDatabase) => void, lost: () => void) {
    this.#name = name;
    this.#create = create;
    this.#lost = lost;
  }

  /**
   * Runs one transaction and resolves with what `work` returned once the transaction is
   * complete. If that fails, the database is opened again and `work` is called once more.
   */
  async run<T>(stores: string[], work: (transaction: IDBTransaction) => T): Promise<T> {
    try {
      return await this.#attempt(stores, work);
    } catch (error) {
      if (this.#isClosed) throw error;
      return await this.#attempt(stores, work);
    }
  }

  /** Closes the database. Transactions that have begun complete. */
  close(): void {
    this.#isClosed = true;
    this.#discard(this.#handle);
  }

  async #attempt<T>(stores: string[], work: (transaction: IDBTransaction) => T): Promise<T> {
    if (this.#isClosed) throw new Error("the database is closed");
    const handle = (this.#handle ??= this.#open());
    try {
      return await within(PATIENCE, handle.then((database) => transact(database, stores, work)));
    } catch (error) {
      this.#lose(handle);
      throw error;
    }
  }

  #open(): Promise<IDBDatabase> {
    const handle = new Promise<IDBDatabase>((resolve, reject) => {
      const request = indexedDB.open(this.#name, 1);
      request.onupgradeneeded = () => this.#create(request.result);
      request.onerror = () => reject(request.error ?? new Error("the database cannot be opened"));
      request.onsuccess = () => {
        const lose = () => this.#lose(handle);
        request.result.onclose = lose;
        // Another tab deletes the database. This handle must not hold that up.
        request.result.onversionchange = lose;
        resolve(request.result);
      };
    });
    return handle;
  }

  #lose(handle: Promise<IDBDatabase>): void {
    if (this.#handle !== handle) return;
    this.#discard(handle);
    this.#lost();
  }

  #discard(handle: Promise<IDBDatabase> | undefined): void {
    this.#handle = undefined;
    handle?.then(
      (database) => database.close(),
      () => {
        // It was never open. The attempt that asked for it has reported that.
      },
    );
  }
}

function transact<T>(database: IDBDatabase, stores: string[], work: (transaction: IDBTransaction) => T): Promise<T> {
  return new Promise((resolve, reject) => {
    const transaction = database.transaction(stores, "readwrite");
    transaction.onabort = () => reject(transaction.error ?? new Error("the transaction was aborted"));
    const found = work(transaction);
    transaction.oncomplete = () => resolve(found);
  });
}

/** Resolves or rejects as `promise` does, and rejects after so many milliseconds. */
function within<T>(patience: number, promise: Promise<T>): Promise<T> {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(() => reject(new Error(`the database took longer than ${patience} ms`)), patience);
    promise.then(resolve, reject).finally(() => clearTimeout(timer));
  });
}
