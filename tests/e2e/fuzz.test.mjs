// No bytes on any port may panic a program, hang it or spoil it for others.
//
// FUZZ_SECONDS says for how long (6), FUZZ_SEED repeats a run.

import assert from "node:assert/strict";
import { existsSync, readdirSync } from "node:fs";
import http2 from "node:http2";
import { connect } from "node:net";
import { after, test } from "node:test";

import { call } from "../harness/grpc.mjs";
import { request } from "../harness/http.mjs";
import { element } from "../harness/member.mjs";
import { Random } from "../harness/random.mjs";
import { Roomkeeper } from "../harness/roomkeeper.mjs";
import { until } from "../harness/until.mjs";

const SECONDS = Number(process.env.FUZZ_SECONDS ?? 6);
const SEED = Number(process.env.FUZZ_SEED ?? Date.now() % 2 ** 31);

// So many at most of each kind, however fast the machine is.
const MOST = 4000 * SECONDS;

// A library's own line for a client that goes away at the wrong moment.
const keeper = await Roomkeeper.start({ expected: [/error while sending invalid namespace packet/] });
const { code } = await keeper.room({ maxParticipants: 10_000 });
const gatewayPort = keeper.gateway.port;
const servicePort = keeper.service.port;

console.log(`FUZZ_SEED=${SEED} FUZZ_SECONDS=${SECONDS}`);

/** Writes bytes to a port and resolves soon after an answer, a close, or neither. */
function poke(port, bytes, patience) {
  return new Promise((resolve) => {
    const socket = connect(port, "127.0.0.1");
    const timer = setTimeout(() => socket.destroy(), patience);
    socket.on("error", () => {});
    socket.on("data", () => socket.destroy());
    socket.once("close", () => {
      clearTimeout(timer);
      resolve();
    });
    for (const part of [bytes].flat()) socket.write(part);
  });
}

/** Runs `once` again and again, several at a time, until the time is up. */
async function repeatedly(name, lanes, seed, once) {
  const end = performance.now() + SECONDS * 1000;
  let count = 0;
  await Promise.all(Array.from({ length: lanes }, async (_, lane) => {
    const random = new Random(SEED + seed * 1000 + lane);
    while (performance.now() < end && count < MOST) {
      count += 1;
      await once(random);
    }
  }));
  console.log(`${name}: ${count} tries`);
  assert.ok(count > 0);
}

const REQUESTS = [
  "GET / HTTP/1.1\r\nHost: a\r\n\r\n",
  "GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n",
  `GET /api/rooms/${code} HTTP/1.1\r\nHost: a\r\n\r\n`,
  `GET /api/rooms/${code}/messages?limit=5&before=7 HTTP/1.1\r\nHost: a\r\nOrigin: http://a\r\n\r\n`,
  "GET /api/rooms?limit=5&pageToken=abc HTTP/1.1\r\nHost: a\r\n\r\n",
  'POST /api/rooms HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\nContent-Length: 31\r\n\r\n{"name":"Room","createdBy":"Ann"}',
  "POST /api/rooms HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n{\"a\":\r\n2\r\n1}\r\n0\r\n\r\n",
  "OPTIONS /api/rooms HTTP/1.1\r\nHost: a\r\nOrigin: http://b\r\nAccess-Control-Request-Method: POST\r\n\r\n",
  "GET /socket.io/?EIO=4&transport=polling HTTP/1.1\r\nHost: a\r\n\r\n",
  "POST /socket.io/?EIO=4&transport=polling&sid=AAAAAAAAAAAAAAAA HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\n40",
  "GET /socket.io/?EIO=4&transport=websocket HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
  "GET /socket.io/?EIO=3&transport=polling&b64=1&j=0 HTTP/1.0\r\n\r\n",
];

const identity = { roomId: code, userId: "fuzz", username: "Fuzz" };
const EVENTS = [
  ["join", identity],
  ["join", { ...identity, sync: "delta", after: { epoch: 1, revision: 1 } }],
  ["leave", identity],
  ["chat:message", { ...identity, message: "hi", requestId: "123e4567-e89b-42d3-a456-426614174000" }],
  ["whiteboard-change", { roomId: code, elements: [element("a"), element("b", 2)] }],
  ["chat:typing", identity],
  ["chat:stopTyping", identity],
  ["whiteboard-pointer", { roomId: code, x: 1, y: 2 }],
];
const PACKETS = [
  "40", "41", "2", "3", "6", "1", "2probe", "5", "40/other,", '40{"token":1}', "42", '42["join"]', "430[]",
  '451-["chat:message",{"_placeholder":true,"num":0}]', "bAAAA", "49999999999", '42/other,1["join",{}]',
  '4218446744073709551616["join",{}]', "\u001e", "4", "",
];

const JOIN = Buffer.from(`42${JSON.stringify(["join", identity])}`);

/** A packet of Socket.io: as a client sends it, with a strange payload, or mutated. */
function packet(random) {
  const [event, payload] = random.pick(EVENTS);
  const ack = random.chance(0.5) ? String(random.below(1000)) : "";
  const plain = `42${ack}${JSON.stringify([event, payload])}`;
  switch (random.below(5)) {
    case 0:
      return Buffer.from(plain);
    case 1:
      return Buffer.from(`42${ack}${JSON.stringify([event, { ...payload, ...Object(random.json()) }])}`);
    case 2:
      return Buffer.from(`42${ack}${JSON.stringify([event, random.json()])}`);
    case 3:
      return Buffer.from(random.pick(PACKETS));
    default:
      return random.mutated(Buffer.from(random.chance(0.8) ? plain : random.pick(PACKETS)));
  }
}

/** A WebSocket frame of text: sound, but for one in thirty. */
function frame(random, payload, sound = !random.chance(0.03)) {
  const final = sound || random.chance(0.5) ? 0x80 : random.below(8) << 4;
  const opcode = sound || random.chance(0.5) ? 1 : random.below(16);
  const claimed = sound || random.chance(0.5) ? payload.length : random.below(2 ** 31);
  const masked = sound || random.chance(0.5) ? 0x80 : 0;
  const head = [final | opcode];
  if (claimed < 126) head.push(masked | claimed);
  else if (claimed < 65_536) head.push(masked | 126, claimed >> 8, claimed & 255);
  else {
    const bytes = [24, 16, 8, 0].map((shift) => (claimed >>> shift) & 255);
    head.push(masked | 127, 0, 0, 0, 0, ...bytes);
  }
  if (!masked) return Buffer.concat([Buffer.from(head), payload]);
  const mask = random.bytes(4);
  const body = Buffer.from(payload.map((byte, n) => byte ^ mask[n % 4]));
  return Buffer.concat([Buffer.from(head), mask, body]);
}

const http2Frame = (type, flags, stream, payload) => {
  const head = Buffer.alloc(9);
  head.writeUIntBE(payload.length, 0, 3);
  head[3] = type;
  head[4] = flags;
  head.writeUInt32BE(stream, 5);
  return Buffer.concat([head, payload]);
};

const literal = (name, value) => Buffer.concat([
  Buffer.from([0, name.length]), Buffer.from(name), Buffer.from([value.length]), Buffer.from(value),
]);

// All but DeleteRoom, which would soon leave nothing to call the others on.
const METHODS = [
  "CreateRoom", "GetRoom", "ListRooms", "GetRoomStats", "JoinRoom", "LeaveRoom",
  "SaveMessage", "ListMessages", "SaveWhiteboard", "GetWhiteboard", "SendSignal", "WatchRoom",
  "WatchRooms", "Pipeline",
].map((name) => `/roomkeeper.v1.RoomService/${name}`);

const PREFACE = Buffer.from("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n");

/** A conversation of raw HTTP/2: a preface, settings and one call. */
function conversation(random) {
  const headers = Buffer.concat([
    literal(":method", "POST"), literal(":scheme", "http"), literal(":authority", "a"),
    literal(":path", random.pick(METHODS)), literal("content-type", "application/grpc"),
    literal("te", "trailers"), literal("grpc-timeout", random.pick(["1S", "99999999H", "0n", "x"])),
  ]);
  const frames = [
    http2Frame(4, 0, 0, Buffer.alloc(0)),
    http2Frame(1, 4, 1, headers),
    http2Frame(0, 1, 1, message(random)),
    http2Frame(6, 0, 0, random.bytes(8)),
    http2Frame(8, 0, 0, Buffer.from([0, 0, 255, 255])),
    http2Frame(3, 0, 1, Buffer.from([0, 0, 0, 8])),
  ].slice(0, 2 + random.below(5));
  if (random.chance(0.7)) {
    const at = random.below(frames.length);
    frames[at] = random.mutated(frames[at]);
  }
  return Buffer.concat([random.chance(0.95) ? PREFACE : random.mutated(PREFACE), ...frames]);
}

const field = (number, text) => {
  const bytes = Buffer.from(text);
  return Buffer.concat([Buffer.from([(number << 3) | 2, bytes.length & 127]), bytes.subarray(0, 127)]);
};

/** A gRPC message: plausible fields, mutated, or random. */
function message(random) {
  const texts = [code, "u", "U", "hi", "", "000001", "x".repeat(120), "\u0000", JSON.stringify(element("a"))];
  let body = Buffer.concat(Array.from({ length: random.below(7) }, (_, n) => field(n + 1, random.pick(texts))));
  if (random.chance(0.5)) body = random.mutated(body);
  if (random.chance(0.1)) body = random.bytes(random.below(200));
  const head = Buffer.alloc(5);
  head[0] = random.chance(0.9) ? 0 : random.below(256);
  head.writeUInt32BE(random.chance(0.9) ? body.length : random.below(2 ** 32), 1);
  return Buffer.concat([head, body]);
}

/** The least that must work. */
async function ordinaryRun() {
  const room = await keeper.room();
  const one = await keeper.joined(room.code);
  const two = await keeper.joined(room.code, { transport: "polling", sync: "delta" });
  const said = await one.say(room.code, "all is well");
  assert.equal((await two.next("chat:message")).id, said.id);
  await one.draw(room.code, [element("a")]);
  assert.deepEqual((await two.next("whiteboard-update")).elements, [element("a")]);
  assert.equal((await keeper.messages(room.code)).length, 1);
  const { response } = await call(keeper.service.address, "GetRoom", { roomCode: room.code });
  assert.equal(response.room.participantCount, 2);
  two.assertUnbroken(room.code);
}

const openFiles = ({ program }) => {
  const folder = `/proc/${program.pid}/fd`;
  return existsSync(folder) ? readdirSync(folder).length : 0;
};

await ordinaryRun();
keeper.dismiss();

test("seeded random and mutated frames do no harm to either program", { concurrency: true, timeout: SECONDS * 1000 + 60_000 }, async (t) => {
  await Promise.all([
    t.test("HTTP, raw", () => repeatedly("HTTP", 3, 1, (random) => {
      const text = Buffer.from(random.pick(REQUESTS));
      const bytes = random.chance(0.9) ? random.mutated(text) : random.bytes(random.below(400));
      return poke(gatewayPort, bytes, 60);
    })),

    t.test("Engine.IO over polling", () => repeatedly("polling", 2, 2, async (random) => {
      const url = `${keeper.gateway.url}/socket.io/?EIO=4&transport=polling`;
      const opened = await request(url);
      const session = `${url}&sid=${JSON.parse(opened.text.slice(1)).sid}`;
      const post = (body) => request(session, { method: "POST", body }).catch(() => ({ status: 0 }));
      await post("40");
      if (random.chance(0.7)) await post(JOIN);
      for (let n = 0; n < 12; n += 1) {
        const packets = Array.from({ length: 1 + random.below(3) }, () => packet(random));
        const body = Buffer.concat(packets.flatMap((one) => [one, Buffer.from([0x1e])]).slice(0, -1));
        if ((await post(body)).status !== 200) break;
        if (random.chance(0.3)) await poke(gatewayPort, `GET ${session.slice(keeper.gateway.url.length)} HTTP/1.1\r\nHost: a\r\n\r\n`, 20);
      }
      await post("41");
      await post("1");
    })),

    t.test("Engine.IO over WebSocket", () => repeatedly("WebSocket", 3, 3, (random) => new Promise((resolve) => {
      const socket = connect(gatewayPort, "127.0.0.1");
      const timer = setTimeout(() => socket.destroy(), 400);
      socket.on("error", () => {});
      socket.once("close", () => {
        clearTimeout(timer);
        resolve();
      });
      socket.write(REQUESTS.find((text) => text.includes("websocket")));
      socket.once("data", () => {
        socket.write(frame(random, Buffer.from("40"), true));
        if (random.chance(0.7)) socket.write(frame(random, JOIN, true));
        for (let n = 0; n < 20; n += 1) socket.write(frame(random, packet(random)));
        socket.write(frame(random, Buffer.from("41")));
        // What comes back is not looked at; a close frame ends the rest.
        socket.end(Buffer.from([0x88, 0x80, 1, 2, 3, 4]));
        socket.resume();
      });
    }))),

    t.test("HTTP/2, raw", () => repeatedly("HTTP/2", 2, 4, (random) =>
      poke(servicePort, random.chance(0.95) ? conversation(random) : random.bytes(random.below(400)), 40))),

    t.test("gRPC messages on sound streams", () => {
      let session;
      const opened = () => {
        if (!session || session.closed || session.destroyed) {
          session = http2.connect(keeper.service.address);
          session.on("error", () => {});
        }
        return session;
      };
      return repeatedly("gRPC", 4, 5, (random) => new Promise((resolve) => {
        const stream = opened().request({
          ":method": "POST",
          ":path": random.pick(METHODS),
          "content-type": "application/grpc",
          te: "trailers",
        });
        const timer = setTimeout(() => stream.close(http2.constants.NGHTTP2_CANCEL), 150);
        stream.on("error", () => {});
        stream.once("close", () => {
          clearTimeout(timer);
          resolve();
        });
        stream.resume();
        for (let n = random.below(3); n >= 0; n -= 1) stream.write(message(random));
        stream.end();
      })).finally(() => session.destroy());
    }),
  ]);
});

test("afterwards no program has panicked, and the ordinary run passes", async () => {
  assert.deepEqual(keeper.complaints(), []);
  await keeper.ready();
  // Some of it was sound, and got through to the store.
  assert.notDeepEqual(await keeper.messages(code), []);
  assert.notDeepEqual(await keeper.board(code), []);
  await ordinaryRun();
});

test("afterwards the connections are gone", async () => {
  for (const program of [keeper.gateway, keeper.service]) {
    await until("the files are closed", () => openFiles(program) < 100, 40_000);
  }
});

after(() => console.log(`FUZZ_SEED=${SEED} repeats this run`));
