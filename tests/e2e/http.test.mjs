// The HTTP routes.

import assert from "node:assert/strict";
import { connect } from "node:net";
import { test } from "node:test";

import { element, ids } from "../harness/member.mjs";
import { Roomkeeper } from "../harness/roomkeeper.mjs";

const LISTED = "https://app.example.org";

const keeper = await Roomkeeper.start({
  gatewayEnv: { CORS_ALLOWED_ORIGINS: `${LISTED},http://localhost:5173` },
});

function assertFailure({ status, body, headers }, wanted, code) {
  assert.equal(status, wanted, JSON.stringify(body));
  assert.match(headers["content-type"], /^application\/json/);
  assert.equal(body.success, false);
  assert.equal(typeof body.error, "string");
  assert.equal(typeof body.code, "string");
  if (code) assert.equal(body.code, code);
}

test("a room is created with 200 on /create and 201 on the collection", async () => {
  for (const [path, status] of [["/api/rooms/create", 200], ["/api/rooms", 201]]) {
    const answer = await keeper.post(path, { name: " Kitchen ", createdBy: "\tAnn\n" });
    assert.equal(answer.status, status);
    assert.equal(answer.body.success, true);
    const { room } = answer.body;
    assert.deepEqual(Object.keys(room).sort(), [
      "code", "createdAt", "createdBy", "id", "maxParticipants", "name", "participantCount",
    ]);
    assert.match(room.code, /^\d{6}$/);
    assert.ok(Number(room.code) >= 1000, "000000 to 000999 are never given out");
    assert.equal(room.id, room.code);
    assert.equal(room.name, "Kitchen");
    assert.equal(room.createdBy, "Ann");
    assert.equal(room.participantCount, 0);
    assert.equal(room.maxParticipants, 10);
    assert.equal(typeof room.createdAt, "number");
    assert.ok(Math.abs(room.createdAt - (await keeper.now())) < 60_000);
    assert.deepEqual(await keeper.about(room.code), room);
  }
});

test("names and limits at their bounds are accepted", async () => {
  for (const more of [
    { name: "x" },
    { name: "x".repeat(80) },
    { name: "😀".repeat(80) },
    { name: ` ${"x".repeat(80)} ` },
    { createdBy: "x".repeat(40) },
    { maxParticipants: 1 },
    { maxParticipants: 10_000 },
  ]) {
    const room = await keeper.room(more);
    if (more.maxParticipants) assert.equal(room.maxParticipants, more.maxParticipants);
    if (more.name) assert.equal(room.name, more.name.trim());
  }
});

test("a room is not created from bad fields, and none is left behind", async () => {
  const before = await keeper.allRooms();
  const good = { name: "Room", createdBy: "Ann" };
  const bad = [
    {}, { name: "Room" }, { createdBy: "Ann" }, [], null, 7, "text", true, [good],
    ...[undefined, null, 7, {}, [], true, "", "   ", "x".repeat(81), "😀".repeat(81)]
      .map((name) => ({ ...good, name })),
    ...[undefined, null, 7, {}, [], true, "", " \n", "x".repeat(41)]
      .map((createdBy) => ({ ...good, createdBy })),
    ...["\u200b", "\u200d\ufeff", "\u200b \u2060", "\u200b\u0000", "\u0001", "\u0001 \u007f", "a\u202eb", "\u2067a\u2069"]
      .flatMap((text) => [{ ...good, name: text }, { ...good, createdBy: text }]),
    ...[0, -1, 10_001, 1.5, "5", [], {}, true, 2 ** 40, 1e300]
      .map((maxParticipants) => ({ ...good, maxParticipants })),
  ];
  for (const path of ["/api/rooms/create", "/api/rooms"]) {
    for (const body of bad) {
      assertFailure(await keeper.post(path, JSON.stringify(body) ?? ""), 400, "INVALID_ARGUMENT");
    }
  }
  assert.deepEqual(await keeper.allRooms(), before);
});

test("malformed JSON is 400, on every route that reads a body", async () => {
  for (const path of ["/api/rooms/create", "/api/rooms", "/api/rooms/join"]) {
    for (const body of ["", "{", "}", '{"name":', "name=Room", '{"name":"a",}', "\u0000", "[".repeat(10_000),
      Buffer.from([0xff, 0xfe, 0x00]), '{"name":"\\ud800","createdBy":"a"}']) {
      assertFailure(await keeper.post(path, body), 400, "INVALID_ARGUMENT");
    }
  }
});

test("a body without a content type, or of another, is answered in JSON", async () => {
  const { status, body } = await keeper.post("/api/rooms", "name=Room", {
    headers: { "content-type": "application/x-www-form-urlencoded" },
  });
  assert.ok([400, 415].includes(status), `${status}`);
  assert.equal(body.success, false);
});

test("a body over the limit is answered 413 in JSON", async () => {
  const answer = await keeper.post("/api/rooms", `{"name":"${"x".repeat(5 * 1024 * 1024)}"}`)
    .catch((error) => error);
  // The gateway may close the connection while the rest is still being sent.
  if (answer instanceof Error) assert.match(answer.code ?? "", /EPIPE|ECONNRESET/);
  else assertFailure(answer, 413, "PAYLOAD_TOO_LARGE");
});

test("join over HTTP checks that the room exists and makes nobody a participant", async () => {
  const room = await keeper.room({ maxParticipants: 1 });
  await keeper.joined(room.code);
  const { status, body } = await keeper.post("/api/rooms/join", { code: room.code, username: "Bob" });
  assert.equal(status, 200, "it looks at no seats");
  assert.equal(body.success, true);
  assert.deepEqual(body.room, { ...room, participantCount: 1 });
  assert.equal((await keeper.about(room.code)).participantCount, 1);

  assertFailure(await keeper.post("/api/rooms/join", { code: "000001", username: "Bob" }), 404, "ROOM_NOT_FOUND");
  for (const bad of [
    {}, { code: room.code }, { username: "Bob" }, { code: Number(room.code), username: "Bob" },
    { code: "12345", username: "Bob" }, { code: room.code, username: "" },
    { code: room.code, username: "x".repeat(41) }, { code: "000001", username: "" },
  ]) {
    assertFailure(await keeper.post("/api/rooms/join", bad), 400, "INVALID_ARGUMENT");
  }
});

test("every route of a room answers 400 to a malformed code and 404 to an unknown one", async () => {
  for (const path of ["", "/messages", "/whiteboard", "/stats"]) {
    for (const code of [
      "12345", "1234567", "abcdef", "12345%00", "%F0%9F%98%80", "..%2f..%2f", "%EF%BC%91%EF%BC%92345",
    ]) {
      assertFailure(await keeper.get(`/api/rooms/${code}${path}`), 400, "INVALID_ARGUMENT");
    }
    assertFailure(await keeper.get(`/api/rooms/000001${path}`), 404, "ROOM_NOT_FOUND");
  }
  assertFailure(await keeper.delete("/api/rooms/12345"), 400, "INVALID_ARGUMENT");
  assertFailure(await keeper.delete("/api/rooms/000001"), 404, "ROOM_NOT_FOUND");
});

test("a deleted room is gone, from every route and from Redis", async () => {
  const { code } = await keeper.room();
  const member = await keeper.joined(code);
  await member.say(code, "hello");
  await member.draw(code, [element("a")]);
  const { status, body } = await keeper.delete(`/api/rooms/${code}`);
  assert.equal(status, 200);
  assert.equal(body.success, true);
  assert.equal(typeof body.message, "string");
  assert.deepEqual(await member.next("room:closed"), { roomId: code, reason: "deleted" });
  for (const path of ["", "/messages", "/whiteboard", "/stats"]) {
    assertFailure(await keeper.get(`/api/rooms/${code}${path}`), 404, "ROOM_NOT_FOUND");
  }
  assertFailure(await keeper.delete(`/api/rooms/${code}`), 404, "ROOM_NOT_FOUND");
  assert.deepEqual(await keeper.traces(code), []);
});

test("the list is newest first, and a room is in it as soon as it is created", async () => {
  const codes = [];
  for (let n = 0; n < 5; n += 1) {
    const { code } = await keeper.room();
    codes.unshift(code);
    const { body } = await keeper.get("/api/rooms");
    assert.equal(body.success, true);
    assert.equal(body.count, body.rooms.length);
    assert.deepEqual(body.rooms.slice(0, codes.length).map((room) => room.code), codes);
    assert.deepEqual(body.rooms[0], await keeper.about(code));
  }
  await keeper.delete(`/api/rooms/${codes[2]}`);
  const { body } = await keeper.get("/api/rooms");
  assert.ok(!body.rooms.some((room) => room.code === codes[2]));
});

test("the list can be read page by page without a gap or a repeat", async () => {
  for (let n = 0; n < 7; n += 1) await keeper.room();
  const all = (await keeper.get("/api/rooms")).body.rooms.map(({ code }) => code);
  const seen = [];
  let token;
  do {
    const query = token ? `&pageToken=${encodeURIComponent(token)}` : "";
    const { status, body } = await keeper.get(`/api/rooms?limit=3${query}`);
    assert.equal(status, 200);
    assert.ok(body.rooms.length <= 3);
    assert.equal(body.count, body.rooms.length);
    seen.push(...body.rooms.map(({ code }) => code));
    token = body.nextPageToken;
  } while (token);
  assert.deepEqual(seen, all);
});

test("a limit that is no positive integer is 400, and so is a foreign page token", async () => {
  const { code } = await keeper.room();
  for (const limit of ["0", "-1", "abc", "1.5", "", "1e3", "%20"]) {
    for (const path of [`/api/rooms/${code}/messages`, "/api/rooms"]) {
      assertFailure(await keeper.get(`${path}?limit=${limit}`), 400, "INVALID_ARGUMENT");
    }
  }
  for (const before of ["-1", "abc", "1.5"]) {
    assertFailure(await keeper.get(`/api/rooms/${code}/messages?before=${before}`), 400, "INVALID_ARGUMENT");
  }
  assertFailure(await keeper.get("/api/rooms?pageToken=nonsense"), 400, "INVALID_ARGUMENT");
});

test("messages are listed oldest first, 50 unless asked, 100 at most, and before a revision", async () => {
  const { code } = await keeper.room();
  const member = await keeper.joined(code);
  for (let n = 0; n < 110; n += 1) await member.say(code, `${n}`);
  const list = async (query) => {
    const { status, body } = await keeper.get(`/api/rooms/${code}/messages${query}`);
    assert.equal(status, 200);
    assert.equal(body.success, true);
    assert.equal(body.count, body.messages.length);
    return body.messages;
  };
  const numbers = (messages) => messages.map(({ message }) => Number(message));
  const range = (from, to) => Array.from({ length: to - from }, (_, n) => from + n);
  assert.deepEqual(numbers(await list("")), range(60, 110));
  assert.deepEqual(numbers(await list("?limit=1")), [109]);
  assert.deepEqual(numbers(await list("?limit=100")), range(10, 110));
  assert.deepEqual(numbers(await list("?limit=101")), range(10, 110));
  assert.deepEqual(numbers(await list("?limit=1000000")), range(10, 110));
  const newest = await list("?limit=30");
  const older = await list(`?limit=30&before=${newest[0].revision}`);
  assert.deepEqual(numbers(older), range(50, 80));
  assert.deepEqual(numbers(await list(`?before=${older[0].revision}&limit=100`)), range(10, 50));
  assert.deepEqual(await list(`?before=${(await list("?limit=100"))[0].revision}`), []);
});

test("stats tell what is kept, who is present and how long the room lives", async () => {
  const room = await keeper.room();
  const member = await keeper.joined(room.code);
  for (let n = 0; n < 105; n += 1) await member.say(room.code, `${n}`);
  const { status, body } = await keeper.get(`/api/rooms/${room.code}/stats`);
  assert.equal(status, 200);
  const { stats } = body;
  assert.deepEqual(Object.keys(stats).sort(), ["messageCount", "participantCount", "room", "ttl"]);
  assert.deepEqual(stats.room, { ...room, participantCount: 1 });
  assert.equal(stats.messageCount, 100);
  assert.equal(stats.participantCount, 1);
  assert.ok(Number.isInteger(stats.ttl) && stats.ttl > 86_300 && stats.ttl <= 86_400, `${stats.ttl}`);
});

test("an empty room has no messages and an empty board", async () => {
  const { code } = await keeper.room();
  assert.deepEqual((await keeper.get(`/api/rooms/${code}/messages`)).body, { success: true, messages: [], count: 0 });
  assert.deepEqual((await keeper.get(`/api/rooms/${code}/whiteboard`)).body, {
    success: true, whiteboard: { elements: [] },
  });
});

test("the board is told in its order", async () => {
  const { code } = await keeper.room();
  const member = await keeper.joined(code);
  await member.draw(code, [element("b", 1, { index: "a1" }), element("a", 1, { index: "a0" })]);
  assert.deepEqual(ids(await keeper.board(code)), ["a", "b"]);
});

test("an unknown route is 404 and a wrong method 405, in JSON", async () => {
  const { code } = await keeper.room();
  for (const path of ["/nothing", "/api", "/api/", "/api/nothing", `/api/rooms/${code}/nothing`, `/api/rooms/${code}/messages/1`, "/../etc/passwd"]) {
    assertFailure(await keeper.get(path), 404);
    assertFailure(await keeper.post(path, {}), 404);
  }
  for (const [method, path] of [
    ["PUT", "/api/rooms"], ["DELETE", "/api/rooms"], ["PATCH", `/api/rooms/${code}`],
    ["POST", `/api/rooms/${code}`], ["DELETE", `/api/rooms/${code}/messages`],
    ["POST", `/api/rooms/${code}/whiteboard`], ["PUT", `/api/rooms/${code}/stats`],
    ["DELETE", "/api/rooms/create"], ["PUT", "/api/rooms/join"], ["POST", "/healthz"],
  ]) {
    assertFailure(await keeper.gateway.request(path, { method }), 405);
  }
});

test("a HEAD request is answered without a body", async () => {
  const { status, text } = await keeper.gateway.request("/api/rooms", { method: "HEAD" });
  assert.equal(status, 200);
  assert.equal(text, "");
});

test("the page at / opens, and health answers", async () => {
  const page = await keeper.get("/");
  assert.equal(page.status, 200);
  assert.match(page.headers["content-type"], /^text\/html/);
  assert.equal((await keeper.get("/healthz")).status, 200);
  assert.equal((await keeper.get("/readyz")).status, 200);
});

test("a room's page has one address, and other spellings lead to it with their query", async () => {
  const { code } = await keeper.room();
  const [head, tail] = [code.slice(0, 3), code.slice(3)];
  assert.equal((await keeper.get(`/r/${code}?a=1`)).status, 200);
  for (const spelled of [
    `${code}/`, `${head}-${tail}`, `${head}-${tail}/`, `${head}%20${tail}`, `%20${code}`, `${head}%E2%80%93${tail}`,
  ]) {
    for (const method of ["GET", "HEAD"]) {
      for (const query of ["", "?from=mail&x=%2F"]) {
        const answer = await keeper.gateway.request(`/r/${spelled}${query}`, { method });
        assert.equal(answer.status, 308, `${method} ${spelled}${query}`);
        assert.equal(answer.headers.location, `/r/${code}${query}`);
        assert.equal(answer.text, "");
      }
    }
  }
  assert.equal((await keeper.post(`/r/${head}-${tail}`, {})).status, 405);
  // What is no code has a page too, which says so; nothing leads to another host.
  for (const other of ["12345", "1234567", "abc", "abc/", "%2F%2Fevil.example/", "%FF"]) {
    const answer = await keeper.get(`/r/${other}`);
    assert.equal(answer.status, 200, other);
    assert.match(answer.headers["content-type"], /^text\/html/);
  }
});

test("a foreign Origin gets 403 on every route, and does nothing", async () => {
  const { code } = await keeper.room();
  const headers = { origin: "http://elsewhere.example" };
  assertFailure(await keeper.post("/api/rooms", { name: "x", createdBy: "y" }, { headers }), 403);
  assertFailure(await keeper.get(`/api/rooms/${code}`, { headers }), 403);
  assertFailure(await keeper.gateway.request(`/api/rooms/${code}`, { method: "DELETE", headers }), 403);
  const preflight = await keeper.gateway.request("/api/rooms", {
    method: "OPTIONS",
    headers: { ...headers, "access-control-request-method": "POST" },
  });
  assert.equal(preflight.headers["access-control-allow-origin"], undefined);
  for (const origin of ["null", `${LISTED}.evil.example`, "http://app.example.org", "https://app.example.org:444", `${LISTED}/path`]) {
    const answer = await keeper.get(`/api/rooms/${code}`, { headers: { origin } });
    assert.equal(answer.status, 403, origin);
  }
  assert.equal((await keeper.get(`/api/rooms/${code}`)).status, 200, "it was not deleted");
});

test("a listed Origin gets CORS headers, a preflight is answered", async () => {
  for (const origin of [LISTED, "http://localhost:5173"]) {
    const answer = await keeper.get("/api/rooms", { headers: { origin } });
    assert.equal(answer.status, 200);
    assert.equal(answer.headers["access-control-allow-origin"], origin);
    const missing = await keeper.get("/api/rooms/000001", { headers: { origin } });
    assert.equal(missing.status, 404);
    assert.equal(missing.headers["access-control-allow-origin"], origin, "a browser may read failures too");
    const preflight = await keeper.gateway.request("/api/rooms", {
      method: "OPTIONS",
      headers: {
        origin,
        "access-control-request-method": "POST",
        "access-control-request-headers": "content-type",
      },
    });
    assert.ok([200, 204].includes(preflight.status));
    assert.equal(preflight.headers["access-control-allow-origin"], origin);
    assert.match(preflight.headers["access-control-allow-methods"], /POST|\*/);
    assert.match(preflight.headers["access-control-allow-headers"], /content-type|\*/i);
    const handshake = await keeper.get("/socket.io/?EIO=4&transport=polling", { headers: { origin } });
    assert.equal(handshake.status, 200);
    assert.equal(handshake.headers["access-control-allow-origin"], origin);
  }
});

test("the gateway's own Origin and no Origin are served", async () => {
  const own = await keeper.get("/api/rooms", { headers: { origin: keeper.gateway.url } });
  assert.equal(own.status, 200);
  assert.equal((await keeper.get("/api/rooms")).status, 200);
});

test("half a request does not keep the next one waiting", async () => {
  const half = connect(keeper.gateway.port, "127.0.0.1");
  half.on("error", () => {});
  await new Promise((resolve) => half.write("GET /api/rooms HT", resolve));
  assert.equal((await keeper.get("/api/rooms")).status, 200);
  half.destroy();
});
