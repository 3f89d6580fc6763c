// The gRPC side, through reflection alone.

import assert from "node:assert/strict";
import { randomUUID } from "node:crypto";
import { connect } from "node:http2";
import { test } from "node:test";

import { call, curl, Stream } from "../harness/grpc.mjs";
import { element } from "../harness/member.mjs";
import { freePort } from "../harness/ports.mjs";
import { launch, Roomkeeper } from "../harness/roomkeeper.mjs";
import { until, within } from "../harness/until.mjs";

const keeper = await Roomkeeper.start({ services: 2 });
const { address } = keeper.service;

const rpc = (method, body) => call(address, method, body);

async function ok(method, body) {
  const { response, error } = await rpc(method, body);
  assert.equal(error, undefined, JSON.stringify(error));
  return response;
}

/** Fails unless the call is refused with this code and this reason. */
async function refused(method, body, code, reason) {
  const { response, error } = await rpc(method, body);
  assert.equal(response, undefined, `${method} ${JSON.stringify(body).slice(0, 200)} was accepted`);
  assert.equal(error.code, code, JSON.stringify(error));
  if (reason) assert.match(JSON.stringify(error.details ?? []), new RegExp(reason));
  return error;
}

test("reflection lists the service and its health", async () => {
  const { code, stdout } = await curl("--list-services", address);
  assert.equal(code, 0);
  assert.match(stdout, /roomkeeper\.v1\.RoomService/);
  assert.match(stdout, /grpc\.health\.v1\.Health/);
  const methods = await curl("--list-methods", address);
  for (const name of [
    "CreateRoom", "GetRoom", "ListRooms", "DeleteRoom", "GetRoomStats", "JoinRoom", "LeaveRoom",
    "SaveMessage", "ListMessages", "SaveWhiteboard", "GetWhiteboard", "SendSignal", "WatchRoom",
    "WatchRooms", "Pipeline",
  ]) {
    assert.match(methods.stdout, new RegExp(`RoomService/${name}\\b`));
  }
});

test("both versions of reflection are served", async () => {
  for (const version of ["grpc-v1", "grpc-v1alpha"]) {
    const { code, stdout } = await curl("--reflect-protocol", version, "--list-services", address);
    assert.equal(code, 0, version);
    assert.match(stdout, /roomkeeper\.v1\.RoomService/);
  }
});

test("health answers for the whole and for the service", async () => {
  for (const service of ["", "roomkeeper.v1.RoomService"]) {
    const { code, stdout, stderr } = await curl(
      "-d", JSON.stringify({ service }), `${address}/grpc.health.v1.Health/Check`,
    );
    assert.equal(code, 0, stderr);
    assert.equal(JSON.parse(stdout).status, "SERVING");
  }
});

test("a room is created, talked in, drawn in, read, listed and deleted", async () => {
  const { room } = await ok("CreateRoom", { name: "Kitchen", createdBy: "Ann", maxParticipants: 3 });
  assert.match(room.code, /^\d{6}$/);
  assert.equal(room.maxParticipants, 3);
  const code = { roomCode: room.code };
  assert.deepEqual((await ok("GetRoom", code)).room, room);

  const requestId = randomUUID();
  const save = { ...code, userId: "bot", username: "Bot", text: "hello", requestId };
  const saved = await ok("SaveMessage", save);
  assert.equal(saved.duplicate, false);
  assert.equal(saved.message.text, "hello");
  const again = await ok("SaveMessage", save);
  assert.equal(again.duplicate, true);
  assert.deepEqual(again.message, saved.message);
  assert.deepEqual((await ok("ListMessages", code)).messages, [saved.message]);

  const json = JSON.stringify(element("a"));
  const drawn = await ok("SaveWhiteboard", { ...code, userId: "bot", elements: [{ json }] });
  assert.equal(drawn.acceptedCount, 1);
  const board = await ok("GetWhiteboard", code);
  assert.deepEqual(board.elements.map((one) => [one.id, one.version, one.versionNonce, one.json]), [
    ["a", "1", "1000", json],
  ]);
  assert.equal(board.elements[0].revision, drawn.position.revision);

  const stats = await ok("GetRoomStats", code);
  assert.equal(stats.messageCount, 1);
  assert.equal(stats.participantCount, 0);

  const { rooms } = await ok("ListRooms", { pageSize: 1 });
  assert.equal(rooms[0].code, room.code);
  await ok("DeleteRoom", code);
  await refused("GetRoom", code, "not_found", "ErrorInfo");
});

test("joining returns all of one instant, and the browser sees it", async () => {
  const { code } = await keeper.room();
  const member = await keeper.joined(code, { username: "Browser" });
  await member.say(code, "hello");
  await member.draw(code, [element("a")]);
  const joined = await ok("JoinRoom", { roomCode: code, userId: "bot", username: "Bot" });
  assert.equal(joined.room.participantCount, 2);
  assert.deepEqual(joined.participants.map(({ username }) => username), ["Browser", "Bot"]);
  assert.deepEqual(joined.messages.map(({ text }) => text), ["hello"]);
  assert.deepEqual(joined.elements.map(({ id }) => id), ["a"]);
  await member.present(code, ["Browser", "Bot"]);

  await ok("SaveMessage", { roomCode: code, userId: "bot", username: "Bot", text: "beep" });
  assert.equal((await member.next("chat:message", ({ username }) => username === "Bot")).message, "beep");
  await ok("SendSignal", { roomCode: code, userId: "bot", username: "Bot", kind: "typing", json: "{}" });
  assert.deepEqual(await member.next("chat:typing"), { roomId: code, userId: "bot", username: "Bot" });
  await ok("LeaveRoom", { roomCode: code, userId: "bot" });
  await member.present(code, ["Browser"]);
  await ok("LeaveRoom", { roomCode: code, userId: "bot" });
});

test("watching gives what was missed, says that it is live, and then each event", async (t) => {
  const { code } = await keeper.room();
  const member = await keeper.joined(code);
  await member.say(code, "missed");
  const zero = { epoch: 0, revision: 0 };
  // On the other service, where there is one: the feed crosses processes.
  const stream = new Stream(keeper.services.at(-1).address, "WatchRoom", { roomCode: code, after: zero });
  t.after(() => stream.close());
  const { caughtUp } = await stream.frame((frame) => frame.caughtUp);
  assert.deepEqual(caughtUp.messages.map(({ text }) => text), ["missed"]);
  assert.equal(caughtUp.participants.length, 1);

  const said = await member.say(code, "live");
  const { event } = await stream.frame(({ event }) => event?.messageSaved);
  assert.equal(event.messageSaved.message.id, said.id);
  assert.equal(event.position.revision, String(said.revision));
  assert.equal(event.previous, caughtUp.position.revision);
  await member.draw(code, [element("a")]);
  await stream.frame(({ event }) => event?.whiteboardChanged?.elements?.[0]?.id === "a");
  member.tell("chat:typing", { roomId: code });
  await stream.frame(({ event }) => event?.signal?.kind === "typing");
  await keeper.joined(code, { username: "New" });
  await stream.frame(({ event }) => event?.participantJoined?.participant?.username === "New");

  await keeper.delete(`/api/rooms/${code}`);
  const { closed } = await stream.frame((frame) => frame.closed);
  assert.equal(closed.reason, "CLOSE_REASON_DELETED");
  await stream.ended;
});

test("watching without a position begins now, and with one continues there", async (t) => {
  const { code } = await keeper.room();
  const member = await keeper.joined(code);
  const first = await member.say(code, "first");
  const second = await member.say(code, "second");
  const now = new Stream(address, "WatchRoom", { roomCode: code });
  t.after(() => now.close());
  assert.deepEqual((await now.frame((frame) => frame.caughtUp)).caughtUp.messages ?? [], []);
  const { epoch } = member.positions.get(code);
  const after = new Stream(address, "WatchRoom", {
    roomCode: code, after: { epoch, revision: first.revision },
  });
  t.after(() => after.close());
  const { caughtUp } = await after.frame((frame) => frame.caughtUp);
  assert.deepEqual(caughtUp.messages.map(({ id }) => id), [second.id]);
  assert.equal(caughtUp.reset, false);
});

test("a reset says how many of its messages a joiner is shown", async (t) => {
  const few = await Roomkeeper.start({ serviceEnv: { HISTORY_LIMIT: "3" } });
  const { code } = await few.room();
  const member = await few.joined(code);
  for (let n = 0; n < 5; n += 1) await member.say(code, `${n}`);
  const { epoch, revision } = member.positions.get(code);
  for (const [after, reset] of [[{ epoch, revision: revision * 2 }, true], [{ epoch, revision }, false]]) {
    const stream = new Stream(few.service.address, "WatchRoom", { roomCode: code, after });
    t.after(() => stream.close());
    const { caughtUp } = await stream.frame((frame) => frame.caughtUp);
    assert.equal(caughtUp.reset, reset);
    assert.equal(caughtUp.messages.length, 5);
    assert.equal(caughtUp.historyLimit, reset ? 3 : 0);
  }
});

test("a watch of no room is not found", async () => {
  await refused("WatchRoom", { roomCode: "000001" }, "not_found", "ErrorInfo");
  await refused("WatchRoom", { roomCode: "x" }, "invalid_argument");
});

test("one stream watches many rooms, each under the name that its caller gave it", async (t) => {
  const rooms = [await keeper.room(), await keeper.room()];
  const stream = new Stream(address, "WatchRooms");
  t.after(() => stream.close());
  rooms.forEach(({ code }, n) => stream.send({ watch: { watchId: n + 1, roomCode: code } }));
  for (const watchId of ["1", "2"]) {
    await stream.frame((frame) => frame.caughtUp && frame.watchId === watchId);
  }
  const say = (code, text) =>
    ok("SaveMessage", { roomCode: code, userId: "u", username: "U", text });
  await say(rooms[1].code, "second");
  await say(rooms[0].code, "first");
  const heard = (watchId, text) =>
    stream.frame((frame) => frame.watchId === watchId && frame.event?.messageSaved?.message.text === text);
  await heard("2", "second");
  await heard("1", "first");

  stream.send({ watch: { watchId: 3, roomCode: "000001" } });
  const missing = await stream.frame((frame) => frame.closed && frame.watchId === "3");
  assert.equal(missing.closed.reason, "CLOSE_REASON_NOT_FOUND");
  stream.send({ watch: { watchId: 4, roomCode: "nonsense" } });
  const invalid = await stream.frame((frame) => frame.closed && frame.watchId === "4");
  assert.equal(invalid.closed.reason, "CLOSE_REASON_INVALID");

  stream.send({ unwatch: { watchId: 1 } });
  stream.send({ unwatch: { watchId: 77 } });
  stream.send({ watch: { watchId: 5, roomCode: rooms[1].code } });
  await stream.frame((frame) => frame.caughtUp && frame.watchId === "5");
  await say(rooms[0].code, "unheard");
  await say(rooms[1].code, "heard twice");
  await heard("2", "heard twice");
  await heard("5", "heard twice");
  assert.ok(!stream.frames.some((frame) => frame.event?.messageSaved?.message.text === "unheard"));

  await ok("DeleteRoom", { roomCode: rooms[1].code });
  for (const watchId of ["2", "5"]) {
    const { closed } = await stream.frame((frame) => frame.closed && frame.watchId === watchId);
    assert.equal(closed.reason, "CLOSE_REASON_DELETED");
  }
});

test("a stopping service ends its watches with a reason", async (t) => {
  const { code } = await keeper.room();
  const second = keeper.services.at(-1);
  const stream = new Stream(second.address, "WatchRoom", { roomCode: code });
  t.after(() => stream.close());
  await stream.frame((frame) => frame.caughtUp);
  await second.program.stop();
  const { closed } = await stream.frame((frame) => frame.closed);
  assert.equal(closed.reason, "CLOSE_REASON_DRAINING");
  second.program.start();
  await until("it serves again", async () =>
    (await call(second.address, "GetRoom", { roomCode: code })).response);
});

test("the schema's bounds are held", async () => {
  const { code } = await keeper.room();
  const room = { roomCode: code };
  const user = { userId: "u", username: "U" };
  const bad = [
    ["CreateRoom", { name: "", createdBy: "Ann" }],
    ["CreateRoom", { name: "x".repeat(81), createdBy: "Ann" }],
    ["CreateRoom", { name: "Room", createdBy: "Ann", maxParticipants: 0 }],
    ["CreateRoom", { name: "Room", createdBy: "Ann", maxParticipants: 10_001 }],
    ["CreateRoom", { name: "Room", createdBy: "Ann", requestId: "no uuid" }],
    ["GetRoom", { roomCode: "12345" }],
    ["GetRoom", {}],
    ["ListRooms", { pageSize: -1 }],
    ["ListRooms", { pageToken: "nonsense" }],
    ["ListMessages", { ...room, pageSize: -1 }],
    ["ListMessages", { ...room, pageToken: "nonsense" }],
    ["JoinRoom", { ...room, userId: "", username: "U" }],
    ["JoinRoom", { ...room, userId: "u", username: "x".repeat(41) }],
    ["JoinRoom", { ...room, ...user, sessionId: "no session!" }],
    ["SaveMessage", { ...room, ...user, text: " " }],
    ["SaveMessage", { ...room, ...user, text: "x".repeat(4001) }],
    ["SaveWhiteboard", { ...room, userId: "u", elements: [{ json: "{" }] }],
    ["SaveWhiteboard", { ...room, userId: "u", elements: [{ json: "7" }] }],
    ["SaveWhiteboard", { ...room, userId: "u", elements: [{ json: "{}" }] }],
    ["SendSignal", { ...room, ...user, kind: "typing", json: "7" }],
    ["SendSignal", { ...room, ...user, kind: "", json: "{}" }],
  ];
  for (const [method, body] of bad) {
    const error = await refused(method, body, "invalid_argument", "BadRequest");
    assert.notEqual(error.message, "");
  }
});

test("a session that has not joined may not write, and another's session may not be used", async () => {
  const { code } = await keeper.room();
  const room = { roomCode: code };
  const user = { userId: "u", username: "U", sessionId: "nobody" };
  await refused("SaveMessage", { ...room, ...user, text: "hi" }, "failed_precondition", "ErrorInfo");
  const json = JSON.stringify(element("a"));
  await refused(
    "SaveWhiteboard", { ...room, userId: "u", sessionId: "nobody", elements: [{ json }] },
    "failed_precondition",
  );
  await refused("SendSignal", { ...room, ...user, kind: "typing", json: "{}" }, "failed_precondition");
  await ok("JoinRoom", { ...room, userId: "v", username: "V", sessionId: "session-of-v" });
  await refused(
    "LeaveRoom", { ...room, userId: "u", sessionId: "session-of-v" }, "permission_denied",
  );
  await ok("SaveMessage", { ...room, userId: "v", username: "V", sessionId: "session-of-v", text: "hi" });
  assert.equal((await keeper.messages(code)).length, 1);
});

test("a full room and an unknown room are refused by their codes", async () => {
  const { code } = await keeper.room({ maxParticipants: 1 });
  await ok("JoinRoom", { roomCode: code, userId: "one", username: "One" });
  await refused("JoinRoom", { roomCode: code, userId: "two", username: "Two" }, "resource_exhausted", "ErrorInfo");
  for (const [method, more] of [
    ["JoinRoom", { userId: "u", username: "U" }],
    ["SaveMessage", { userId: "u", username: "U", text: "hi" }],
    ["SaveWhiteboard", { userId: "u", elements: [{ json: JSON.stringify(element("a")) }] }],
    ["ListMessages", {}], ["GetWhiteboard", {}], ["GetRoomStats", {}], ["DeleteRoom", {}],
  ]) {
    await refused(method, { roomCode: "000001", ...more }, "not_found");
  }
  assert.deepEqual(await keeper.traces("000001"), []);
});

test("a repeated CreateRoom meets its own room", async () => {
  const body = { name: "Once", createdBy: "Ann", requestId: randomUUID() };
  const first = await ok("CreateRoom", body);
  assert.deepEqual(await ok("CreateRoom", body), first);
  await refused("CreateRoom", { ...body, name: "Other" }, "invalid_argument");
});

test("rooms are listed page by page", async () => {
  for (let n = 0; n < 5; n += 1) await keeper.room();
  const all = (await ok("ListRooms", { pageSize: 1000 })).rooms.map(({ code }) => code);
  const seen = [];
  let pageToken = "";
  do {
    const page = await ok("ListRooms", { pageSize: 4, pageToken });
    seen.push(...page.rooms.map(({ code }) => code));
    pageToken = page.nextPageToken;
  } while (pageToken);
  assert.deepEqual(seen, all);
});

const METHODS = [
  "CreateRoom", "GetRoom", "ListRooms", "DeleteRoom", "GetRoomStats", "JoinRoom", "LeaveRoom",
  "RenewSessions", "SaveMessage", "ListMessages", "SaveWhiteboard", "GetWhiteboard", "SendSignal",
  "WatchRoom", "WatchRooms", "Pipeline",
];

/** Sends bytes as the one request of a call; what the call ends with. */
async function answered(session, path, bytes) {
  const stream = session.request({
    ":method": "POST", ":path": path,
    "content-type": "application/grpc", te: "trailers",
  });
  stream.end(bytes);
  return within(
    () => `an answer of ${path}`,
    new Promise((resolve, reject) => {
      // A call that is refused before it begins is answered in its headers.
      const ended = (headers) => "grpc-status" in headers && resolve(headers);
      stream.on("response", ended).on("trailers", ended).on("error", reject).resume();
    }),
  );
}

const PATHS = [
  ...METHODS.map((method) => `/roomkeeper.v1.RoomService/${method}`),
  "/grpc.health.v1.Health/Check", "/grpc.health.v1.Health/Watch",
];

for (const path of PATHS) {
  test(`${path} refuses what is no protobuf as the caller's fault`, async (t) => {
    const session = connect(address);
    t.after(() => session.destroy());
    for (const bytes of [
      // The first field is said to be longer than the message is.
      [0, 0, 0, 0, 2, 0x0a, 0x7f],
      // No field has this type.
      [0, 0, 0, 0, 1, 0x0f],
      // The message ends before its length.
      [0, 0, 0, 0, 9, 0x0a],
    ]) {
      const end = await answered(session, path, Buffer.from(bytes));
      assert.equal(end["grpc-status"], "3", end["grpc-message"]);
      const details = Buffer.from(end["grpc-status-details-bin"], "base64").toString("latin1");
      assert.match(details, /INVALID_ARGUMENT/);
    }
  });
}

test("a request over 16 MiB is too large, and says so", async (t) => {
  const session = connect(address);
  t.after(() => session.destroy());
  const head = Buffer.alloc(5);
  head.writeUInt32BE((16 << 20) + 1, 1);
  for (const method of ["SaveWhiteboard", "Pipeline"]) {
    const end = await answered(session, `/roomkeeper.v1.RoomService/${method}`, head);
    assert.equal(end["grpc-status"], "3", end["grpc-message"]);
    const details = Buffer.from(end["grpc-status-details-bin"], "base64").toString("latin1");
    assert.match(details, /PAYLOAD_TOO_LARGE/);
  }
});

test("an element with a bad field is refused by its name, or left out where that is asked for", async () => {
  const { code } = await keeper.room();
  const draw = (elements, more) => ({
    roomCode: code, userId: "bot", elements: elements.map((one) => ({ json: JSON.stringify(one) })), ...more,
  });
  const good = element("good");
  for (const [field, value, type] of [
    ["index", "zz"], ["x", "1"], ["points", [{}, {}], "freedraw"], ["name", {}, "frame"],
    ["boundElements", "x"], ["link", "javascript:alert(1)"],
  ]) {
    const bad = element("bad", 1, { type: type ?? "rectangle", [field]: value });
    const error = await refused("SaveWhiteboard", draw([good, bad]), "invalid_argument", "BadRequest");
    assert.match(error.message, new RegExp(`elements\\[1\\]\\.${field}\\b`));
  }
  assert.deepEqual(await keeper.board(code), []);

  const bad = element("bad", 1, { x: "1" });
  const requestId = randomUUID();
  for (const duplicate of [false, true]) {
    const saved = await ok("SaveWhiteboard", draw([bad, good], { leaveOutInvalid: true, requestId }));
    assert.equal(saved.duplicate, duplicate);
    assert.deepEqual([saved.acceptedCount, saved.rejectedCount, saved.leftOutCount], [1, 1, 1]);
  }
  const lost = await ok("SaveWhiteboard", draw([bad, element("good", 0)], { leaveOutInvalid: true }));
  assert.deepEqual([lost.acceptedCount, lost.rejectedCount, lost.leftOutCount], [0, 2, 1]);
  const none = await ok("SaveWhiteboard", draw([bad], { leaveOutInvalid: true }));
  assert.deepEqual([none.acceptedCount, none.rejectedCount, none.leftOutCount, none.position], [0, 1, 1, null]);
  const odd = [
    element("odd", 1.5), element("newer", 1, { type: "stickynote" }), element("x".repeat(65)),
  ];
  const rest = await ok("SaveWhiteboard", draw([...odd, good], { leaveOutInvalid: true }));
  assert.deepEqual(
    [rest.acceptedCount, rest.rejectedCount, rest.leftOutCount], [0, odd.length, odd.length],
  );
  for (const one of odd) await refused("SaveWhiteboard", draw([good, one]), "invalid_argument", "BadRequest");
  assert.deepEqual(await keeper.board(code), [good]);
  // What every element needs is needed here too.
  await refused("SaveWhiteboard", draw([good, { id: "bad" }], { leaveOutInvalid: true }), "invalid_argument");
  await refused("SaveWhiteboard", draw([bad, bad], { leaveOutInvalid: true }), "invalid_argument");
});

test("a name shows something and leaves the direction of text alone", async () => {
  const { code } = await keeper.room();
  for (const name of [
    "\u200b\u200d\ufeff", "\u200b\u0000", "\u0001", "   ", "\n\u0085\u00a0", "a\u202eb", "\u2066a\u2069",
  ]) {
    await refused("CreateRoom", { name, createdBy: "Ann" }, "invalid_argument", "BadRequest");
    await refused("CreateRoom", { name: "Room", createdBy: name }, "invalid_argument", "BadRequest");
    const user = { roomCode: code, userId: "u", username: name };
    await refused("JoinRoom", user, "invalid_argument", "BadRequest");
    await refused("SaveMessage", { ...user, text: "hi" }, "invalid_argument", "BadRequest");
    await refused("SendSignal", { ...user, kind: "typing" }, "invalid_argument", "BadRequest");
  }
});

test("a service without its Redis listens, is not serving, and says why", async (t) => {
  const port = await freePort();
  const service = launch("persistence-service", {
    PERSISTENCE_LISTEN: `127.0.0.1:${port}`,
    REDIS_URL: "redis://127.0.0.1:1",
  });
  t.after(() => service.stop());
  const alone = `http://127.0.0.1:${port}`;
  const health = await until("it listens", async () => {
    const { code, stdout } = await curl(
      "-d", "{}", `${alone}/grpc.health.v1.Health/Check`,
    );
    return code === 0 && JSON.parse(stdout);
  });
  assert.equal(health.status, "NOT_SERVING");
  const { error } = await call(alone, "CreateRoom", { name: "Room", createdBy: "Ann" });
  assert.equal(error.code, "unavailable");
  assert.doesNotMatch(service.log, /Redis: ready/);
});
