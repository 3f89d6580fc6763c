// The checker can fail: each of its rules finds what was planted for it.

import assert from "node:assert/strict";
import { test } from "node:test";

import { check } from "../harness/faults/checker.mjs";
import { Reader } from "../harness/faults/reader.mjs";

const EPOCH = 1;

/** A run in which nothing is wrong: Ann has said `count` things and drawn two. */
function run(count = 3) {
  const complaints = [];
  const reader = new Reader({
    sync: "delta",
    name: "reader",
    complain: (rule, text) => complaints.push({ rule, text }),
  });
  reader.asks(undefined);
  reader.receive("chat:history", [{ messages: [], count: 0 }]);
  reader.receive("whiteboard:state", [{ elements: [] }]);
  reader.receive("presence:update", [[{ userId: "ann" }], { epoch: EPOCH, revision: 2, previous: 2 }]);
  reader.arrives({ epoch: EPOCH, revision: 2 });
  const user = { id: "ann", username: "Ann" };
  const operations = [];
  let revision = 2;
  const messages = [];
  for (let n = 0; n < count; n += 1) {
    const message = {
      id: `m${n}`, userId: "ann", username: "Ann", message: `text ${n}`,
      ts: n, timestamp: n, revision: revision + 1, requestId: `r${n}`,
    };
    reader.receive("chat:message", [{ ...message, epoch: EPOCH, previous: revision }]);
    revision += 1;
    messages.push(message);
    const answer = { success: true, message, duplicate: false };
    operations.push({
      event: "chat:message", room: "1", user, request: { message: message.message, requestId: `r${n}` },
      attempts: [{ sentAt: n, took: 0.5, on: "socket", answer }], answer,
    });
  }
  const board = [];
  for (const version of [1, 2]) {
    const element = { type: "rectangle", isDeleted: false, stroke: `s${version}`, id: `e${version}`, version, versionNonce: 7 };
    const update = { elements: [element], epoch: EPOCH, revision: revision + 1, previous: revision };
    reader.receive("whiteboard-update", [update]);
    revision += 1;
    board.push(element);
    const answer = { success: true, accepted: 1, rejected: 0 };
    operations.push({
      event: "whiteboard-change", room: "1", user, request: { elements: [element] },
      attempts: [{ sentAt: 9, took: 0.5, on: "socket", answer }], answer,
    });
  }
  const finals = [{ messages: messages.slice(-100), board, room: { participantCount: 1 } }];
  const room = { code: "1", readers: [reader], finals, living: ["ann"] };
  return { operations, complaints, rooms: [room], promptly: { limit: 100 }, reader, messages, finals, revision };
}

const rules = (broken) => [...new Set(check(broken).violations.map(({ rule }) => rule))];

function finds(rule, what, plant) {
  test(`the checker finds ${what}`, () => {
    const broken = run();
    plant(broken);
    assert.ok(rules(broken).includes(rule), `found ${rules(broken)}`);
  });
}

test("the checker finds nothing where nothing is wrong", () => {
  assert.deepEqual(check(run()), { violations: [], lost: [] });
  assert.deepEqual(rules(run(160)), []);
});

finds("acknowledged", "an acknowledged message that is not there", ({ finals }) => finals[0].messages.pop());
finds("acknowledged", "a stored message that is not the acknowledged one", ({ finals }) => {
  finals[0].messages[1] = { ...finals[0].messages[1], message: "another" };
});
finds("stored", "a message that was heard and is not stored", (broken) => {
  const { reader, revision } = broken;
  reader.receive("chat:message", [{ id: "x", message: "ghost", revision: revision + 1, previous: revision, epoch: EPOCH }]);
});
finds("twice", "a message that came twice", ({ reader, messages, revision }) => {
  reader.receive("chat:message", [{ ...messages[0], epoch: EPOCH, revision: revision + 1, previous: revision }]);
});
finds("twice", "a request that is stored twice", ({ finals, messages }) => {
  finals[0].messages.push({ ...messages[0], id: "again", revision: 99 });
});
finds("chain", "an event that does not follow", ({ reader, revision }) => {
  reader.receive("room:position", [{ epoch: EPOCH, revision: revision + 2, previous: revision + 1 }]);
});
finds("epoch", "an event of another epoch", ({ reader, revision }) => {
  reader.receive("room:position", [{ epoch: EPOCH + 1, revision: revision + 1, previous: revision }]);
});
finds("silence", "an event after a leave", ({ reader, revision }) => {
  reader.left();
  reader.receive("room:position", [{ epoch: EPOCH, revision: revision + 1, previous: revision }]);
});
finds("readers", "a reader that lacks a message", ({ reader }) => {
  reader.messages.splice(1, 1);
});
finds("join order", "a join that is acknowledged before it is answered", ({ reader }) => {
  reader.asks(undefined);
  reader.arrives({ epoch: EPOCH, revision: 9 });
});
finds("order", "messages of one connection that overtook each other", ({ operations }) => {
  [operations[0].answer, operations[1].answer] = [operations[1].answer, operations[0].answer];
});
finds("refusal", "a refused message that is stored", ({ operations }) => {
  operations[0].refused = "STORE_UNAVAILABLE";
  operations[0].answer = undefined;
});
finds("refusal", "a refused stroke that was seen", ({ operations }) => {
  operations.at(-1).refused = "STORE_UNAVAILABLE";
  operations.at(-1).answer = undefined;
});
finds("board", "an accepted element that is not there", ({ finals }) => finals[0].board.pop());
finds("board", "an element that lost and is there", ({ finals, operations }) => {
  const request = { elements: [{ ...finals[0].board[0], version: 5, stroke: "newer" }] };
  operations.push({ ...operations.at(-1), request });
});
finds("board", "two ties that were both accepted", ({ finals, operations }) => {
  const tie = { ...operations.at(-1), tie: true };
  const other = { ...tie, request: { elements: [{ ...finals[0].board[1], stroke: "other" }] } };
  operations.splice(-1, 1, tie, other);
});
finds("scene", "a reader whose board is another", ({ reader, finals }) => {
  reader.board.merge([{ ...finals[0].board[0], version: 9 }]);
});
finds("presence", "a user who is gone and listed", ({ rooms }) => {
  rooms[0].living = [];
});
finds("count", "a participantCount that is wrong", ({ finals }) => {
  finals[0].room.participantCount = 2;
});
finds("prompt", "an answer that came late", ({ operations }) => {
  operations[0].attempts[0].took = 101;
});

test("what a declared failover lost is counted, and nothing else is excused", () => {
  const forked = run();
  forked.rooms[0].loss = "forked";
  forked.rooms[0].windows = [{ from: 0, to: 0 }, { from: 2, to: 3 }];
  forked.finals[0].messages.pop();
  forked.reader.messages.pop();
  assert.equal(check(forked).lost.length, 1);
  assert.deepEqual(rules(forked), []);
  forked.finals[0].messages.pop();
  forked.reader.messages.pop();
  assert.deepEqual(rules(forked), ["acknowledged"]);
});
