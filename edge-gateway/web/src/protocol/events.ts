/** The names of all events, spelled here and nowhere else. */

/** What this client sends. */
export const ClientEvent = {
  join: "join",
  leave: "leave",
  message: "chat:message",
  typing: "chat:typing",
  stopTyping: "chat:stopTyping",
  change: "whiteboard-change",
  pointer: "whiteboard-pointer",
} as const;

/** What the server sends. */
export const ServerEvent = {
  history: "chat:history",
  message: "chat:message",
  typing: "chat:typing",
  stopTyping: "chat:stopTyping",
  board: "whiteboard:state",
  update: "whiteboard-update",
  pointer: "whiteboard-pointer",
  presence: "presence:update",
  position: "room:position",
  closed: "room:closed",
  draining: "server:draining",
  error: "error",
} as const;
