// Randomness that can be repeated: everything follows from one seed.

/** A generator of random numbers and mutations (mulberry32). */
export class Random {
  #state;

  constructor(seed) {
    this.#state = seed >>> 0;
  }

  /** A number from 0 up to, not including, 1. */
  fraction() {
    this.#state = (this.#state + 0x6d2b79f5) >>> 0;
    let t = this.#state;
    t = Math.imul(t ^ (t >>> 15), t | 1);
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
  }

  /** An integer from 0 up to, not including, `end`. */
  below(end) {
    return Math.floor(this.fraction() * end);
  }

  chance(probability) {
    return this.fraction() < probability;
  }

  pick(list) {
    return list[this.below(list.length)];
  }

  bytes(length) {
    return Buffer.from(Array.from({ length }, () => this.below(256)));
  }

  /** A JSON value, more often a nasty one. */
  json(depth = 0) {
    const simple = [
      () => null, () => true, () => 0, () => -1, () => 1.5, () => 2 ** 53, () => -(2 ** 63),
      () => 1e308, () => "", () => "x".repeat(this.below(300)), () => "\u0000\ud800", () => "123456",
      () => String.fromCodePoint(0x20 + this.below(0x10000)),
    ];
    if (depth > 4 || this.chance(0.6)) return this.pick(simple)();
    if (this.chance(0.5)) return Array.from({ length: this.below(4) }, () => this.json(depth + 1));
    const keys = ["roomId", "userId", "username", "message", "elements", "id", "version", "x", "__proto__", ""];
    return Object.fromEntries(
      Array.from({ length: this.below(5) }, () => [this.pick(keys), this.json(depth + 1)]),
    );
  }

  /** `bytes` with a few mutations: flips, cuts, repeats, insertions, replaced digits. */
  mutated(bytes) {
    let result = Buffer.from(bytes);
    for (let n = this.below(4); n >= 0; n -= 1) {
      const at = this.below(result.length + 1);
      const length = this.below(Math.min(16, result.length - at + 1));
      switch (this.below(7)) {
        case 0:
          if (at < result.length) result[at] ^= 1 << this.below(8);
          break;
        case 1:
          if (at < result.length) result[at] = this.pick([0, 1, 0x7f, 0x80, 0xff, 0x0a, 0x22, 0x5b]);
          break;
        case 2:
          result = Buffer.concat([result.subarray(0, at), result.subarray(at + length)]);
          break;
        case 3:
          result = Buffer.concat([result.subarray(0, at), this.bytes(length), result.subarray(at)]);
          break;
        case 4:
          result = Buffer.concat([result.subarray(0, at + length), result.subarray(at)]);
          break;
        case 5:
          result = result.subarray(0, at);
          break;
        default:
          result = Buffer.from(
            result.toString("latin1").replace(/\d+/, () =>
              this.pick(["0", "-1", "4294967296", "18446744073709551616", "1e999", ""])),
            "latin1",
          );
      }
    }
    return result;
  }
}
