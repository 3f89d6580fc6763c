// The page that shows a room: it speaks Socket.io over a WebSocket of its own, and treats
// everything that comes as text.

/** A Socket.io connection, protocol 5 over Engine.IO 4, WebSocket only. */
class Socket {
  #socket;
  #nextId = 0;
  #acks = new Map();
  #onEvent;
  #onState;
  #wait = 500;
  #retryAt = 0;

  constructor(onEvent, onState) {
    this.#onEvent = onEvent;
    this.#onState = onState;
    this.#open();
  }

  /** Comes back after this many milliseconds, as the server asks. */
  retryAfter(ms) {
    this.#retryAt = Date.now() + ms;
  }

  /** Sends an event; resolves with its acknowledgement. */
  request(event, payload) {
    if (this.#socket.readyState !== WebSocket.OPEN) {
      return Promise.resolve({ success: false, error: "not connected" });
    }
    const id = this.#nextId++;
    this.#socket.send(`42${id}${JSON.stringify([event, payload])}`);
    return new Promise((resolve) => this.#acks.set(id, resolve));
  }

  #open() {
    const scheme = location.protocol === "https:" ? "wss:" : "ws:";
    this.#socket = new WebSocket(`${scheme}//${location.host}/socket.io/?EIO=4&transport=websocket`);
    this.#socket.onmessage = ({ data }) => this.#receive(data);
    this.#socket.onclose = () => {
      this.#onState(false);
      for (const resolve of this.#acks.values()) {
        resolve({ success: false, error: "the connection was lost" });
      }
      this.#acks.clear();
      const asked = Math.max(0, this.#retryAt - Date.now());
      setTimeout(() => this.#open(), asked || this.#wait * (0.5 + Math.random() / 2));
      this.#wait = Math.min(5000, this.#wait * 2);
    };
  }

  #receive(data) {
    if (data.startsWith("0")) return this.#socket.send("40");
    if (data === "2") return this.#socket.send("3");
    if (data.startsWith("40")) {
      this.#wait = 500;
      return this.#onState(true);
    }
    const packet = /^4([23])(\d*)(\[.*)$/s.exec(data);
    if (!packet) return;
    const values = JSON.parse(packet[3]);
    if (packet[1] === "3") {
      this.#acks.get(Number(packet[2]))?.(values[0]);
      this.#acks.delete(Number(packet[2]));
    } else {
      this.#onEvent(...values);
    }
  }
}

const $ = (id) => document.getElementById(id);
const userId = crypto.randomUUID?.() ?? `page-${Date.now()}-${Math.random()}`;
const typists = new Map();
let room = null;
let typing = null;

const socket = new Socket(onEvent, (connected) => {
  $("status").textContent = connected ? "Connected" : "Not connected, trying again…";
  if (connected && room) join(room.code, room.username);
});

function append(list, text, most) {
  const follow = list.scrollTop + list.clientHeight >= list.scrollHeight - 20;
  const item = document.createElement("li");
  item.textContent = text;
  list.append(item);
  while (list.children.length > most) list.firstChild.remove();
  if (follow) list.scrollTop = list.scrollHeight;
}

function show(message) {
  const time = new Date(message.ts).toLocaleTimeString();
  append($("messages"), `${time}  ${message.username}: ${message.message}`, 200);
}

function showTypists() {
  const names = [...typists.values()];
  $("typing").textContent = names.length ? `${names.join(", ")} writing…` : "";
}

function onEvent(event, payload, at) {
  const text = JSON.stringify(at ? [payload, at] : payload);
  append($("events"), `${event} ${text.slice(0, 2000)}`, 200);
  if (event === "server:draining") return socket.retryAfter(payload.retryAfterMs);
  if (!room || (at ?? payload).roomId !== room.code) return;
  if (event === "chat:history") {
    $("messages").replaceChildren();
    payload.messages.forEach(show);
  } else if (event === "chat:message") {
    show(payload);
  } else if (event === "presence:update") {
    $("present").replaceChildren();
    for (const user of payload) append($("present"), user.username, 10000);
  } else if (event === "chat:typing") {
    typists.set(payload.userId, payload.username);
    showTypists();
  } else if (event === "chat:stopTyping") {
    typists.delete(payload.userId);
    showTypists();
  } else if (event === "room:closed") {
    $("problem").textContent = `The room was ${payload.reason}.`;
    setRoom(null);
  }
}

function setRoom(next) {
  room = next;
  typists.clear();
  showTypists();
  $("leave").disabled = !room;
  for (const control of $("chat").elements) control.disabled = !room;
  if (!room) $("present").replaceChildren();
}

async function join(code, username) {
  if (room && room.code !== code) await leave();
  setRoom({ code, username });
  const answer = await socket.request("join", { roomId: code, userId, username });
  $("problem").textContent = answer.success ? "" : problemOf(answer);
  if (!answer.success) setRoom(null);
}

function problemOf({ code, error }) {
  return code === "ROOM_NOT_FOUND"
    ? "There is no such room. Check the code, ask for a new one, or create a room."
    : error;
}

/** The code without what people put between its digits. */
function digits(code) {
  return code.replace(/[\s\u2010-\u2015-]/g, "");
}

/** Fills in the room that the address names, as in /r/123456, and says if there is none. */
async function showNamedRoom() {
  const named = /^\/r\/([^/]+)/.exec(location.pathname)?.[1];
  if (!named) return;
  const code = digits(decodeURIComponent(named));
  $("join").elements.code.value = code;
  $("join").elements.username.focus();
  const answer = /^\d{6}$/.test(code)
    ? await (await fetch(`/api/rooms/${code}`)).json()
    : { success: false, code: "ROOM_NOT_FOUND" };
  if (!answer.success && !room) $("problem").textContent = problemOf(answer);
}
showNamedRoom().catch(() => {
  $("problem").textContent = "The gateway cannot be reached.";
});

async function leave() {
  if (room) await socket.request("leave", { roomId: room.code, userId });
  setRoom(null);
}

$("create").addEventListener("submit", async (event) => {
  event.preventDefault();
  const name = $("create").elements.name.value;
  const createdBy = $("join").elements.username.value.trim() || "somebody";
  try {
    const response = await fetch("/api/rooms", {
      method: "POST",
      headers: { "content-type": "application/json" },
      body: JSON.stringify({ name, createdBy }),
    });
    const answer = await response.json();
    $("problem").textContent = answer.success ? "" : answer.error;
    if (!answer.success) return;
    $("join").elements.code.value = answer.room.code;
    $("join").elements.username.focus();
  } catch {
    $("problem").textContent = "The gateway cannot be reached.";
  }
});

$("join").addEventListener("submit", (event) => {
  event.preventDefault();
  const { code, username } = $("join").elements;
  join(digits(code.value), username.value);
});

$("leave").addEventListener("click", leave);

$("chat").addEventListener("submit", async (event) => {
  event.preventDefault();
  const input = $("chat").elements.message;
  const message = input.value;
  if (!room || !message.trim()) return;
  input.value = "";
  stopTyping();
  const answer = await socket.request("chat:message", { roomId: room.code, userId, message });
  $("problem").textContent = answer.success ? "" : answer.error;
  if (!answer.success && !input.value) input.value = message;
});

$("chat").elements.message.addEventListener("input", () => {
  if (!room) return;
  if (!typing) socket.request("chat:typing", { roomId: room.code, userId });
  clearTimeout(typing);
  typing = setTimeout(stopTyping, 3000);
});

function stopTyping() {
  if (!typing) return;
  clearTimeout(typing);
  typing = null;
  if (room) socket.request("chat:stopTyping", { roomId: room.code, userId });
}
