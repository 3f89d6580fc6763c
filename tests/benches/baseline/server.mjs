// A room server as it is commonly written: Express, Socket.IO, ioredis.
//
// It speaks the part of the browser contract that the benchmark needs: rooms over
// HTTP, join, leave, chat and a whiteboard over Socket.IO. A room is a hash, its
// messages a list, its board one string; who is present lives in this process. It
// tells before it stores, which is the quicker order, and the board is replaced as a
// whole.

import { randomInt, randomUUID } from "node:crypto";
import { createServer } from "node:http";

import express from "express";
import { Redis } from "ioredis";
import { Server } from "socket.io";

const TTL = 24 * 60 * 60;
const MESSAGE_LIMIT = 100;
const HISTORY = 50;

const redis = new Redis(process.env.REDIS_URL);
const app = express();
const server = createServer(app);
// The same bound on a payload as the gateway has. The `ws` engine is the default, and
// compression is off, as it is by default.
const io = new Server(server, { maxHttpBufferSize: 4 * 1024 * 1024 });

/** room code → socket id → participant */
const presence = new Map();

const roomKey = (code) => `room:${code}`;
const messagesKey = (code) => `room:${code}:messages`;
const boardKey = (code) => `room:${code}:whiteboard`;

async function freeCode() {
  for (;;) {
    const code = String(randomInt(1000, 1_000_000)).padStart(6, "0");
    if (!(await redis.exists(roomKey(code)))) return code;
  }
}

app.use(express.json());

app.post("/api/rooms", async (request, response) => {
  const { name, createdBy, maxParticipants = 10 } = request.body;
  if (!name || !createdBy) {
    response.status(400).json({ success: false, error: "name and createdBy are required" });
    return;
  }
  const code = await freeCode();
  const room = { id: code, code, name, createdBy, createdAt: Date.now(), maxParticipants };
  await redis
    .pipeline()
    .hset(roomKey(code), room)
    .expire(roomKey(code), TTL)
    .zadd("rooms:active", room.createdAt, code)
    .exec();
  response.status(201).json({ success: true, room: { ...room, participantCount: 0 } });
});

app.get("/healthz", (_request, response) => {
  response.json({ success: true });
});

/** The users of a room, one entry each however many sockets they have. */
function participants(code) {
  const users = new Map();
  for (const { userId, username } of presence.get(code)?.values() ?? []) {
    users.set(userId, { userId, username });
  }
  return [...users.values()];
}

function tellPresence(code) {
  io.to(code).emit("presence:update", participants(code));
}

function goAway(socket, code) {
  const members = presence.get(code);
  if (!members?.delete(socket.id)) return;
  if (members.size === 0) presence.delete(code);
  tellPresence(code);
}

function failure(ack, error, code) {
  if (typeof ack === "function") ack({ success: false, error, code });
}

io.on("connection", (socket) => {
  socket.on("join", async ({ roomId, userId, username } = {}, ack) => {
    try {
      const [[, room], [, messages], [, board]] = await redis
        .pipeline()
        .hgetall(roomKey(roomId))
        .lrange(messagesKey(roomId), 0, HISTORY - 1)
        .get(boardKey(roomId))
        .exec();
      if (!room?.code) return failure(ack, "the room does not exist", "ROOM_NOT_FOUND");
      const present = participants(roomId);
      const known = present.some((participant) => participant.userId === userId);
      if (!known && present.length >= Number(room.maxParticipants)) {
        return failure(ack, "the room is full", "ROOM_FULL");
      }
      socket.join(roomId);
      if (!presence.has(roomId)) presence.set(roomId, new Map());
      presence.get(roomId).set(socket.id, { userId, username });

      const history = messages.map((message) => JSON.parse(message)).reverse();
      socket.emit("chat:history", { roomId, messages: history, count: history.length });
      socket.emit("whiteboard:state", { roomId, elements: board ? JSON.parse(board) : [] });
      tellPresence(roomId);
      if (typeof ack === "function") {
        ack({ success: true, room, participants: participants(roomId) });
      }
    } catch (error) {
      console.error(error);
      failure(ack, "internal error", "INTERNAL");
    }
  });

  socket.on("leave", ({ roomId } = {}, ack) => {
    socket.leave(roomId);
    goAway(socket, roomId);
    if (typeof ack === "function") ack({ success: true });
  });

  socket.on("chat:message", async ({ roomId, userId, username, message } = {}, ack) => {
    if (!socket.rooms.has(roomId)) return failure(ack, "not in this room", "NOT_JOINED");
    if (typeof message !== "string" || !message.trim() || message.length > 4000) {
      return failure(ack, "message must be a text", "INVALID_ARGUMENT");
    }
    try {
      // Without this a message to a room that has expired would bring half of it back.
      if (!(await redis.exists(roomKey(roomId)))) {
        return failure(ack, "the room does not exist", "ROOM_NOT_FOUND");
      }
      const timestamp = Date.now();
      const saved = { id: randomUUID(), roomId, userId, username, message, ts: timestamp, timestamp };
      io.to(roomId).emit("chat:message", saved);
      await redis
        .pipeline()
        .lpush(messagesKey(roomId), JSON.stringify(saved))
        .ltrim(messagesKey(roomId), 0, MESSAGE_LIMIT - 1)
        .expire(messagesKey(roomId), TTL)
        .hset(roomKey(roomId), "lastActivity", timestamp)
        .expire(roomKey(roomId), TTL)
        .expire(boardKey(roomId), TTL)
        .exec();
      if (typeof ack === "function") ack({ success: true, message: saved });
    } catch (error) {
      console.error(error);
      failure(ack, "internal error", "INTERNAL");
    }
  });

  socket.on("whiteboard-change", async ({ roomId, elements } = {}, ack) => {
    if (!socket.rooms.has(roomId)) return failure(ack, "not in this room", "NOT_JOINED");
    if (!Array.isArray(elements)) {
      return failure(ack, "elements must be an array", "INVALID_ARGUMENT");
    }
    socket.to(roomId).emit("whiteboard-update", { roomId, elements });
    try {
      await redis
        .pipeline()
        .set(boardKey(roomId), JSON.stringify(elements), "EX", TTL)
        .expire(messagesKey(roomId), TTL)
        .expire(roomKey(roomId), TTL)
        .exec();
      if (typeof ack === "function") ack({ success: true, accepted: elements.length });
    } catch (error) {
      console.error(error);
      failure(ack, "internal error", "INTERNAL");
    }
  });

  socket.on("chat:typing", ({ roomId, userId, username } = {}) => {
    if (socket.rooms.has(roomId)) {
      socket.to(roomId).emit("chat:typing", { roomId, userId, username });
    }
  });

  socket.on("disconnecting", () => {
    for (const code of socket.rooms) goAway(socket, code);
  });
});

const [host, port] = process.env.BASELINE_LISTEN.split(":");
server.listen(Number(port), host);
process.on("SIGTERM", () => process.exit(0));
