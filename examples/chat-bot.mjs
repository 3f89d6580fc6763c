// A bot that answers what people say to it: `bot: hello` is answered with `hello, Ann`.
//
//   node chat-bot.mjs [ROOM_CODE]

import { randomUUID } from "node:crypto";

import { io } from "socket.io-client";

const url = process.env.ROOMKEEPER_URL ?? "http://127.0.0.1:4000";
const me = { userId: "example-bot", username: "Bot" };

const roomId = process.argv[2] ?? (await createRoom());

// Where this bot is in the room's history. A reconnect asks for what came after it.
let position;

const socket = io(url);

socket.on("connect", async () => {
  const joined = await socket.emitWithAck("join", { roomId, ...me, sync: "delta", after: position });
  if (!joined.success) throw new Error(`${joined.code}: ${joined.error}`);
  position = { epoch: joined.epoch, revision: joined.revision };
  console.log(`in room ${roomId}: ${url}/r/${roomId}`);
});

// After a reconnect the history holds what this bot has missed. At the first join it holds
// what was said before the bot came, which is not answered.
socket.on("chat:history", ({ messages, reset }) => {
  if (reset === false) for (const message of messages) answer(message);
});

socket.on("chat:message", (message) => {
  follow(message);
  answer(message);
});

// Changes of the board and of the people present belong to the same history.
socket.on("room:position", follow);
socket.on("whiteboard-update", follow);
socket.on("presence:update", (_people, step) => follow(step));

socket.on("room:closed", ({ reason }) => {
  console.log(`the room is closed: ${reason}`);
  socket.disconnect();
});

function follow({ epoch, revision }) {
  if (revision !== undefined) position = { epoch, revision };
}

async function answer({ userId, username, message }) {
  if (userId === me.userId || !message.startsWith("bot:")) return;
  const text = `${message.slice(4).trim()}, ${username}`;
  // The same request id makes it safe to send the answer again: it is stored once.
  const requestId = randomUUID();
  for (let tries = 1; tries <= 3; tries += 1) {
    const sent = await socket
      .timeout(5000)
      .emitWithAck("chat:message", { roomId, message: text, requestId })
      .catch(() => ({ success: false, code: "NO_ANSWER" }));
    if (sent.success) return;
    console.error(`not sent: ${sent.code}`);
  }
}

async function createRoom() {
  const response = await fetch(`${url}/api/rooms`, {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: JSON.stringify({ name: "Bot's room", createdBy: me.username }),
  });
  const body = await response.json();
  if (!body.success) throw new Error(`${body.code}: ${body.error}`);
  return body.room.code;
}
