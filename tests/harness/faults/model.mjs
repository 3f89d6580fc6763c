// The rules of a room as plain as they can be said, for comparison.

/** Whether an element wins against another of the same id. */
export function beats(one, other) {
  return one.version > other.version
    || (one.version === other.version && one.versionNonce < other.versionNonce);
}

/** Whether two elements are the same as far as merging can tell. */
export function ties(one, other) {
  return one.version === other.version && one.versionNonce === other.versionNonce;
}

/** A board that merges what it is given. */
export class Board {
  #elements = new Map();

  constructor(elements = []) {
    this.merge(elements);
  }

  merge(elements) {
    for (const element of elements) {
      const stored = this.#elements.get(element.id);
      if (!stored || beats(element, stored)) this.#elements.set(element.id, element);
    }
  }

  get(id) {
    return this.#elements.get(id);
  }

  ids() {
    return [...this.#elements.keys()];
  }

  /** The elements that are not deleted, by id. */
  living() {
    return [...this.#elements.values()]
      .filter(({ isDeleted }) => !isDeleted)
      .sort((one, other) => (one.id < other.id ? -1 : 1));
  }
}
