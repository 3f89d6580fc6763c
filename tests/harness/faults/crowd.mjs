// Users who join, talk, draw, open and close tabs, lose their connection and
// come back; and everything they were told.

import { until } from "../until.mjs";
import { randomFor, uuid } from "./seed.mjs";
import { Tab } from "./tab.mjs";

/** How many requests of one tab are under way at most. */
const OUTSTANDING = 6;

/** How many tabs a complaint names. */
const NAMED = 12;

/** What a tab does next, and how often in relation to the rest. */
const ACTIONS = {
  say: 40,
  sayTwice: 5,
  sayReordered: 4,
  sayWithoutId: 4,
  draw: 18,
  drawShared: 10,
  drawTie: 4,
  erase: 4,
  signal: 3,
  leaveAndReturn: 2,
  drop: 3,
  rename: 1,
  openTab: 1,
  closeTab: 2,
};

/** The users of a few rooms and what they were told. */
export class Crowd {
  #timer;
  #deck;
  #avoided;
  #count = 0;
  #version = 1;

  /** All tabs, the closed ones too. */
  tabs = [];

  /** All writes: `{event, request, room, user, attempts, answer, refused, inDoubt}`. */
  operations = [];

  /** `{rule, text}` of what must never happen and did. */
  complaints = [];

  /** Requests that were answered as done before. */
  duplicates = 0;

  /** Rooms in which somebody who is in may be missing from a list for a while. */
  mayMiss = new Set();

  /** How many writes were refused as INTERNAL, by room. */
  internal = new Map();

  /**
   * `rooms`: codes; `users`: how many in each; `urls(transport)`: a function that
   * makes a function which says where to connect; `seed`; `name` of this crowd;
   * `only` which acts.
   */
  constructor({ rooms, users, urls, seed, name, only = Object.keys(ACTIONS) }) {
    this.random = randomFor(name, seed);
    this.name = name;
    this.rooms = rooms;
    this.urls = urls;
    this.#deck = only.flatMap((action) => Array(ACTIONS[action]).fill(action));
    this.users = rooms.flatMap((room) =>
      Array.from({ length: users }, (_, n) => ({
        id: `user-${room}-${n}`,
        username: `User ${n}`,
        room,
        elements: new Map(),
        tabs: [],
        number: n,
      })));
    for (const user of this.users) {
      this.openTab(user);
      // Some have a second tab.
      if (user.number % 3 === 0) this.openTab(user);
    }
  }

  // The kinds of clients that there are, each in every room.
  #kind() {
    const kinds = [
      { sync: "delta" }, { sync: "delta" }, { sync: undefined },
      { sync: "delta", transport: "polling" }, { sync: "delta" },
    ];
    return kinds[this.#count % kinds.length];
  }

  openTab(user) {
    const kind = this.#kind();
    this.#count += 1;
    const name = `${this.name}/${user.username}/tab ${this.#count}`;
    const tab = new Tab(this, {
      ...kind,
      url: this.urls(kind.transport ?? "websocket"),
      user,
      room: user.room,
      random: randomFor(`${name}`, this.random.below(2 ** 31)),
      name,
    });
    this.tabs.push(tab);
    user.tabs.push(tab);
    return tab;
  }

  complain(rule, text, room) {
    this.complaints.push({ rule, text, room });
  }

  /** The tabs that are open. */
  open(room) {
    return this.tabs.filter((tab) =>
      tab.state !== "closed" && (room === undefined || tab.room === room));
  }

  /** Resolves when every open tab is in its room. */
  allIn(deadline) {
    return until(
      "all tabs are in their rooms",
      () => this.open().every((tab) => tab.isIn || tab.state === "over"),
      deadline,
    ).catch((error) => {
      const out = this.open().filter((tab) => !tab.isIn).map(({ name, state }) => `${name}: ${state}`);
      const more = out.length > NAMED ? ` and ${out.length - NAMED} more` : "";
      throw new Error(`${error.message}: ${out.slice(0, NAMED).join(", ")}${more}`);
    });
  }

  joined(tab) {
    tab.aliveSince = tab.joinedAt;
    this.#isListed(tab, tab.reader.people, tab.reader.position);
  }

  /** An answer of any kind came to a tab. */
  told(tab, { success, code }) {
    if (success || code !== "INTERNAL") return;
    this.internal.set(tab.room, (this.internal.get(tab.room) ?? 0) + 1);
  }

  heard(tab, event, args) {
    if (event === "presence:update") this.#isListed(tab, args[0], args[1]);
  }

  // Nobody is missing whose socket has been there since before the list was made
  // and is there still.
  #isListed(tab, people, { epoch, revision }) {
    if (this.mayMiss.has(tab.room)) return;
    const listed = new Set(people.map(({ userId }) => userId));
    for (const other of this.tabs) {
      if (other.room !== tab.room || !other.isIn || other.isDraining || listed.has(other.user.id)) continue;
      if (other.reader.position.epoch !== epoch || other.joinedAt > revision) continue;
      this.complain(
        "presence",
        `${tab.name} is told at ${revision} that ${other.name} is absent, who is in since ${other.joinedAt}`,
      );
    }
  }

  answered(op, answer) {
    if (!answer.success) return;
    if (answer.duplicate) this.duplicates += 1;
    if (!op.answer) return;
    // A request has one outcome, however often it is asked.
    const [first, again] = [op.answer, answer].map(({ duplicate, ...rest }) => JSON.stringify(rest));
    if (op.request.requestId && first !== again) {
      this.complain("retry", `a request was answered ${first}, and then ${again}`, op.room);
    }
    if (op.request.requestId && !op.answer.duplicate && !answer.duplicate) {
      this.complain("retry", `a request was done twice: ${JSON.stringify(op.request).slice(0, 300)}`, op.room);
    }
  }

  /** Acts `rate` times a second from now on. */
  begin(rate) {
    this.#timer = setInterval(() => this.#act(), 1000 / rate);
  }

  /** Nobody begins anything new. */
  rest() {
    clearInterval(this.#timer);
  }

  /** Nothing is begun in this room any more. */
  avoid(room) {
    this.#avoided = room;
  }

  /** How many writes have been acknowledged. */
  get acknowledged() {
    return this.operations.filter(({ answer }) => answer).length;
  }

  acknowledgedIn(room) {
    return this.operations.filter((op) => op.room === room && op.answer).length;
  }

  #act() {
    const { random } = this;
    const ready = this.tabs.filter((tab) => tab.isIn && tab.outstanding < OUTSTANDING && tab.room !== this.#avoided);
    if (ready.length === 0) return;
    const tab = random.pick(ready);
    this[`_${random.pick(this.#deck)}`](tab);
  }

  #operation(event, tab, more, options = {}) {
    const op = {
      event,
      room: tab.room,
      user: tab.user,
      request: { roomId: tab.room, ...more },
      attempts: [],
      number: this.operations.length,
      ...options,
    };
    this.operations.push(op);
    return op;
  }

  /** A message that the tab says, once it is told to write it. */
  message(tab, options = {}) {
    const { id: userId, username } = tab.user;
    return this.#operation("chat:message", tab, {
      userId,
      username,
      message: `${this.name} ${this.operations.length} ${"·".repeat(this.random.below(200))}`,
      ...(!options.withoutId && { requestId: uuid(this.random) }),
    }, { persistent: this.random.chance(0.7), ...options });
  }

  _say(tab) {
    const op = this.message(tab);
    op.first = true;
    tab.write(op);
  }

  _sayWithoutId(tab) {
    tab.write(this.message(tab, { withoutId: true, persistent: false }));
  }

  // Another tab of the same user, or the same one.
  #twin(tab) {
    return this.random.pick(tab.user.tabs.filter((other) => other.isIn));
  }

  _sayTwice(tab) {
    const op = this.message(tab, { persistent: true });
    tab.write(op);
    this.#twin(tab).repeat(op);
  }

  _sayReordered(tab) {
    const ops = Array.from({ length: 3 }, () => this.message(tab, { persistent: true }));
    for (const op of ops) tab.write(op);
    const twin = this.#twin(tab);
    for (const op of ops.reverse()) twin.repeat(op);
  }

  // A stroke: the elements of one change, each with the number of its operation.
  #stroke(tab, elements, options = {}) {
    const stroke = `${this.name}-${this.operations.length}`;
    return this.#operation("whiteboard-change", tab, {
      elements: elements.map((element) => ({
        type: "rectangle",
        isDeleted: false,
        stroke,
        ...element,
      })),
      requestId: uuid(this.random),
    }, { persistent: true, ...options });
  }

  #own(user, id) {
    const version = (user.elements.get(id) ?? 0) + 1;
    user.elements.set(id, version);
    return { id, version, versionNonce: this.random.below(2 ** 31) };
  }

  _draw(tab) {
    const count = 1 + this.random.below(4);
    const numbers = new Set(Array.from({ length: count }, () => this.random.below(30)));
    tab.write(this.#stroke(tab, [...numbers].map((n) => this.#own(tab.user, `${tab.user.id}-${n}`))));
  }

  _erase(tab) {
    const id = `${tab.user.id}-${this.random.below(30)}`;
    tab.write(this.#stroke(tab, [{ ...this.#own(tab.user, id), isDeleted: true }]));
  }

  #sharedVersion() {
    // Several changes have the same version, so that the nonce decides.
    this.#version += 1;
    return Math.floor(this.#version / 3);
  }

  _drawShared(tab) {
    tab.write(this.#stroke(tab, [{
      id: `shared-${this.random.below(5)}`,
      version: this.#sharedVersion(),
      versionNonce: this.random.below(2 ** 31),
    }]));
  }

  // Two users draw the same element with the same version and nonce at once.
  _drawTie(tab) {
    const others = this.tabs.filter((other) =>
      other.isIn && other.room === tab.room && other.sync === "delta" && other !== tab);
    if (tab.sync !== "delta" || others.length === 0) return;
    this.#version += 3;
    const element = {
      id: `tied-${this.random.below(5)}`,
      version: this.#sharedVersion(),
      versionNonce: this.random.below(2 ** 31),
    };
    for (const one of [tab, this.random.pick(others)]) {
      one.write(this.#stroke(one, [element], { tie: true }));
    }
  }

  _signal(tab) {
    tab.signal(this.random.pick(["chat:typing", "chat:stopTyping"]));
    tab.signal("whiteboard-pointer", { x: this.random.below(100), y: this.random.below(100) });
  }

  _leaveAndReturn(tab) {
    tab.leaveAndReturn();
  }

  _drop(tab) {
    tab.drop();
  }

  _rename(tab) {
    if (tab.sync !== "delta") return;
    tab.rename(`User ${tab.user.number} (${this.operations.length})`);
  }

  _openTab(tab) {
    if (tab.user.tabs.filter(({ state }) => state !== "closed").length < 3) this.openTab(tab.user);
  }

  _closeTab(tab) {
    const open = tab.user.tabs.filter(({ state }) => state !== "closed");
    if (open.length > 1) tab.close();
  }

  /** Resolves when nothing is under way and every write has its outcome. */
  settled(deadline) {
    const isSettled = (tab) =>
      tab.state === "over" || (tab.isIn && tab.pending.size === 0 && tab.outstanding === 0);
    return until("every write has its outcome", () => this.open().every(isSettled), deadline).catch((error) => {
      const busy = this.open().filter((tab) => !isSettled(tab)).map((tab) =>
        `${tab.name} (${tab.state}, ${tab.outstanding} under way): ${[...tab.pending].map(({ event, attempts }) =>
          `${event} ${JSON.stringify(attempts.at(-1)?.answer)?.slice(0, 100)}`)}`);
      throw new Error(`${error.message}: ${busy.join("; ")}`);
    });
  }

  /** Closes everything. */
  dismiss() {
    this.rest();
    for (const tab of this.tabs) tab.close();
  }
}
