// Judges a run by what clients were told and what can be read afterwards, and by
// nothing else: it knows no key, no log and no clock of the servers.

import { beats, ties } from "./model.mjs";

/** How many messages a room keeps. */
const KEPT = 100;

/**
 * Returns `{violations, lost}`: `{rule, text}` of everything that must not be, and
 * the acknowledged writes that a fault was declared to lose.
 *
 * `run`: `operations` and `complaints` as a crowd keeps them; `rooms`, each
 * `{code, readers, finals, living, loss}`: all readers that ever were, `finals` as
 * each gateway answers at the end (`{messages, board, room}`), `living`, the ids
 * of the users with an open tab; `loss` says what was declared: undefined
 * (nothing may be lost), "ended" (the room is gone), "spoiled" (a part of it was
 * taken away) or "forked" (what was acknowledged within one of the
 * `windows`, each `{from, to}`, may be lost).
 */
export function check({ operations, complaints, rooms, promptly }) {
  const forked = new Set(rooms.filter(({ loss }) => loss === "forked").map(({ code }) => code));
  // What a failover lost is done again when it is asked again, and answered anew.
  const violations = complaints.filter(({ rule, room }) => !(rule === "retry" && forked.has(room)));
  const lost = [];
  const blame = (rule, text) => violations.push({ rule, text });
  for (const room of rooms) {
    const own = operations.filter((op) => op.room === room.code);
    if (room.loss === "spoiled") {
      nothingTwice(room, blame);
      presence(room, blame);
    } else if (room.loss !== "ended") {
      const history = historyOf(room);
      acknowledged(room, own, blame, lost);
      heardIsStored(room, blame);
      nothingTwice(room, blame);
      readersAgree(room, history, blame);
      orderOfSockets(own, blame);
      board(room, own, blame, lost);
      scenes(room, blame);
      presence(room, blame);
    }
    refusals(room, own, blame);
  }
  if (promptly) answersArePrompt(operations, promptly, blame);
  return { violations, lost };
}

const last = (list) => list.at(-1);

// Everything that anybody ever heard and that is not taken back, in order. What a fork took
// back is in no answer and with no reader that is in at the end: all of them began anew.
function historyOf({ readers, finals, loss }) {
  const messages = new Map();
  const note = (message) => messages.set(message.id, message);
  if (loss !== "forked") for (const { heard } of readers) heard.forEach(note);
  else for (const { messages: shown } of readers.filter(({ joined }) => joined)) shown.forEach(note);
  for (const { messages: kept } of finals) kept.forEach(note);
  const all = [...messages.values()].sort((one, other) => one.revision - other.revision);
  if (loss !== "forked") return all;
  const kept = new Set(last(finals).messages.map(({ id }) => id));
  const first = last(finals).messages[0]?.revision ?? Infinity;
  return all.filter(({ id, revision }) => revision < first || kept.has(id));
}

/** An acknowledged message is kept, or was pushed out by as many newer ones as are kept. */
function acknowledged({ finals, loss, windows }, operations, blame, lost) {
  for (const { messages } of finals) {
    const kept = new Map(messages.map((message) => [message.id, message]));
    for (const op of operations) {
      const message = op.answer?.message;
      if (!message) continue;
      const stored = kept.get(message.id);
      if (stored) {
        if (!sameMessage(stored, message)) {
          blame("acknowledged", `acknowledged ${text(message)}, stored ${text(stored)}`);
        }
        continue;
      }
      if (messages.length >= KEPT && messages[0].revision > message.revision) continue;
      const at = op.attempts.find(({ answer }) => answer?.success);
      const declared = loss === "forked"
        && windows.some(({ from, to }) => at.sentAt + at.took >= from && at.sentAt <= to);
      if (declared) lost.push(op);
      else blame("acknowledged", `acknowledged and lost: ${text(message)}; ${messages.length} are kept`);
    }
  }
}

function sameMessage(one, other) {
  return ["id", "userId", "username", "message", "ts", "timestamp", "revision"]
    .every((field) => one[field] === other[field]);
}

/** What somebody heard is stored, or was pushed out: no member sees what is not there. */
function heardIsStored({ readers, finals, loss }, blame) {
  if (loss === "forked") return;
  const { messages } = last(finals);
  const kept = new Set(messages.map(({ id }) => id));
  const blamed = new Set();
  for (const { heard, name } of readers) {
    for (const message of heard.values()) {
      if (kept.has(message.id) || blamed.has(message.id)) continue;
      if (messages.length >= KEPT && messages[0].revision > message.revision) continue;
      blamed.add(message.id);
      blame("stored", `${name} heard ${text(message)}, which is not stored`);
    }
  }
}

/** No message and no request is in a room twice. */
function nothingTwice({ readers, finals, loss }, blame) {
  const ids = new Map();
  const requests = new Map();
  const texts = new Map();
  const note = (message) => {
    const before = ids.get(message.id);
    if (before !== undefined && before.revision !== message.revision) {
      blame("twice", `${message.id} is at ${before.revision} and at ${message.revision}`);
    }
    ids.set(message.id, message);
    for (const [map, key] of [[requests, message.requestId], [texts, message.message]]) {
      if (key === undefined) continue;
      if (map.has(key) && map.get(key) !== message.id) {
        blame("twice", `${text(message)} is stored as ${map.get(key)} too`);
      }
      map.set(key, message.id);
    }
  };
  // What a failover took back may have been done again since.
  if (loss !== "forked") for (const reader of readers) reader.heard.forEach(note);
  for (const { messages } of finals) {
    messages.forEach(note);
    if (new Set(messages.map(({ id }) => id)).size !== messages.length) {
      blame("twice", "a history holds a message twice");
    }
    messages.reduce((before, { revision }) => {
      if (revision <= before) blame("order", `a history is not in order at ${revision}`);
      return revision;
    }, 0);
  }
}

/** Each reader has exactly the room's messages between where it began and where it is. */
function readersAgree({ readers, loss }, history, blame) {
  for (const reader of readers) {
    if (!reader.position) continue;
    if (loss === "forked" && !reader.joined) continue;
    const expected = history.filter(({ revision }) =>
      revision > reader.floor && revision <= reader.position.revision);
    const wanted = expected.map(({ id }) => id);
    const had = reader.messages.map(({ id }) => id);
    if (wanted.length === had.length && wanted.every((id, n) => id === had[n])) continue;
    const missing = expected.filter(({ id }) => !had.includes(id));
    const extra = reader.messages.filter(({ id }) => !wanted.includes(id));
    blame(
      "readers",
      `${reader.name} (${reader.sync ?? "full"}) from ${reader.floor} to ${reader.position.revision}: `
      + `${missing.length} missing (${missing.slice(0, 3).map(text)}), `
      + `${extra.length} that nobody else has (${extra.slice(0, 3).map(text)})`,
    );
  }
}

/** What one connection sends takes effect in the order sent. */
function orderOfSockets(operations, blame) {
  const bySocket = new Map();
  for (const op of operations) {
    if (op.attempts.length !== 1 || !op.answer?.message) continue;
    const { on } = op.attempts[0];
    const before = bySocket.get(on);
    if (before && before.answer.message.revision >= op.answer.message.revision) {
      blame("order", `${text(op.answer.message)} overtook ${text(before.answer.message)} on one connection`);
    }
    bySocket.set(on, op);
  }
}

/** What was answered with a definite no never took effect. */
function refusals({ readers, finals = [] }, operations, blame) {
  const refused = operations.filter(({ refused: code, answer }) => code && !answer);
  const texts = new Map();
  const strokes = new Map();
  for (const op of refused) {
    if (op.event === "chat:message") texts.set(op.request.message, op);
    else strokes.set(op.request.elements[0].stroke, op);
  }
  const say = (op) => `${op.event} of ${op.user.username}, refused with ${op.refused}`;
  for (const { heard } of readers) {
    for (const { message } of heard.values()) {
      if (texts.has(message)) blame("refusal", `${say(texts.get(message))}, was heard`);
    }
  }
  for (const reader of readers) {
    for (const stroke of reader.strokes) {
      if (strokes.has(stroke)) blame("refusal", `${say(strokes.get(stroke))}, was seen`);
    }
  }
  for (const { messages, board: elements } of finals) {
    for (const { message } of messages) {
      if (texts.has(message)) blame("refusal", `${say(texts.get(message))}, is stored`);
    }
    for (const { stroke } of elements) {
      if (strokes.has(stroke)) blame("refusal", `${say(strokes.get(stroke))}, is stored`);
    }
  }
}

/** The board is the merge of everything accepted. */
function board({ finals, loss }, operations, blame, lost) {
  const accepted = new Map();
  const doubtful = new Map();
  for (const op of operations) {
    if (op.event !== "whiteboard-change" || (op.refused && !op.answer)) continue;
    const into = op.answer ? accepted : doubtful;
    for (const element of op.request.elements) {
      if (!into.has(element.id)) into.set(element.id, []);
      into.get(element.id).push({ element, op });
    }
  }
  for (const { board: elements } of finals) {
    const stored = new Map(elements.map((element) => [element.id, element]));
    if (stored.size !== elements.length) blame("board", "a board holds an element twice");
    for (const id of new Set([...accepted.keys(), ...stored.keys()])) {
      const problem = elementProblem(stored.get(id), accepted.get(id) ?? [], doubtful.get(id) ?? []);
      if (!problem) continue;
      if (loss === "forked") lost.push({ id, problem });
      else blame("board", `element ${id}: ${problem}`);
    }
  }
}

// What is wrong with a stored element, given what was offered.
function elementProblem(stored, accepted, doubtful) {
  let winner;
  for (const { element } of accepted) if (!winner || beats(element, winner)) winner = element;
  const better = doubtful.filter(({ element }) => !winner || beats(element, winner));
  if (!stored) {
    const gone = winner?.isDeleted || better.some(({ element }) => element.isDeleted);
    return gone || !winner ? undefined : `${text(winner)} was accepted and is not there`;
  }
  const candidates = [
    ...accepted.filter(({ element }) => ties(element, winner)),
    ...doubtful.filter(({ element }) => !winner || beats(element, winner) || ties(element, winner)),
  ].filter(({ element }) => !element.isDeleted);
  const found = candidates.find(({ element }) => JSON.stringify(element) === JSON.stringify(stored));
  if (!found) return `${text(stored)} is stored; what won is ${text(winner)}`;
  // Of changes that tie the first stays, and is the only one that is counted.
  const first = accepted.filter(({ element, op }) =>
    op.tie && ties(element, stored) && op.answer.accepted === 1);
  if (first.length > 1) return `${first.length} changes that tie were accepted`;
  if (first.length === 1 && ties(stored, first[0].element) && found.op !== first[0].op) {
    return `${text(stored)} took the place of ${text(first[0].element)}, which it ties with`;
  }
  return undefined;
}

/** Every reader that is in at the end sees the stored board. */
function scenes({ readers, finals, code }, blame) {
  const stored = byId(last(finals).board);
  for (const { board: elements } of finals) {
    if (JSON.stringify(byId(elements)) !== JSON.stringify(stored)) {
      blame("board", `the gateways tell different boards of ${code}`);
    }
  }
  for (const reader of readers) {
    if (!reader.joined) continue;
    const problem = difference(reader.board.living(), stored);
    if (problem) {
      const way = JSON.stringify(reader.way.slice(-3));
      blame("scene", `${reader.name} (${reader.sync ?? "full"}) in ${code}: ${problem}; its last joins: ${way}`);
    }
  }
}

const byId = (elements) => [...elements].sort((one, other) => (one.id < other.id ? -1 : 1));

/** What a scene has otherwise than the stored board, or nothing. */
export function difference(scene, stored) {
  const has = new Map(scene.map((element) => [element.id, element]));
  const should = new Map(stored.map((element) => [element.id, element]));
  const wrong = [];
  for (const [id, element] of should) {
    if (JSON.stringify(has.get(id)) !== JSON.stringify(element)) {
      wrong.push(`${text(has.get(id))} should be ${text(element)}`);
    }
  }
  for (const [id, element] of has) if (!should.has(id)) wrong.push(`${text(element)} should not be`);
  return wrong.length === 0 ? undefined : `${wrong.length} differ: ${wrong.slice(0, 3).join("; ")}`;
}

/** Exactly the users with an open tab are present, in every place that tells. */
function presence({ readers, finals, living, code }, blame) {
  const expected = [...living].sort();
  const compare = (where, users) => {
    const sorted = [...users].sort();
    if (JSON.stringify(sorted) !== JSON.stringify(expected)) {
      blame("presence", `${where} of ${code} has ${sorted}; in are ${expected}`);
    }
  };
  for (const { room } of finals) {
    if (room.participantCount !== expected.length) {
      blame("count", `participantCount of ${code} is ${room.participantCount}; in are ${expected}`);
    }
  }
  for (const reader of readers) {
    if (reader.joined) compare(reader.name, reader.people.map(({ userId }) => userId));
  }
}

/** Every write was answered in `limit` milliseconds, unless something was frozen meanwhile. */
function answersArePrompt(operations, { limit, exempt = [] }, blame) {
  for (const { event, attempts } of operations) {
    for (const { sentAt, took, answer } of attempts) {
      if (answer === undefined || answer.code === "NO_ANSWER" || took <= limit) continue;
      if (exempt.some(({ from, to }) => sentAt + took >= from && sentAt <= to)) continue;
      blame("prompt", `${event} was answered after ${Math.round(took)} ms with ${answer.code ?? "success"}`);
    }
  }
}

function text(value) {
  return JSON.stringify(value)?.slice(0, 240);
}
