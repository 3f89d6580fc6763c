import type { Message, RoomInfo } from "../protocol/payloads";

/** The chat for reading: a line for each message, further lines of it indented. */
export function asText(room: RoomInfo, messages: readonly Message[]): string {
  const lines = messages.map(({ ts, username, message }) =>
    `[${new Date(ts).toISOString()}] ${username}: ${message.replaceAll("\n", "\n    ")}`);
  return `${[`${room.name} (${room.code})`, "", ...lines].join("\n")}\n`;
}

/** The chat for programs. */
export function asJson(room: RoomInfo, messages: readonly Message[]): string {
  const { code, name, createdBy, createdAt } = room;
  return `${JSON.stringify({ room: { code, name, createdBy, createdAt }, messages }, null, 2)}\n`;
}
