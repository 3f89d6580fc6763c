import { expect, test } from "vitest";

import type { Message } from "../protocol/payloads";
import { byDay } from "./groups";
import { asJson, asText } from "./transcript";

const NOON = new Date(2026, 0, 5, 12).getTime();

function message(n: number, userId: string, ts: number, text = `text ${n}`): Message {
  return { id: `m${n}`, roomId: "123456", userId, username: userId, message: text, ts, timestamp: ts, revision: n };
}

test("messages are grouped by day, person and pause", () => {
  const minute = 60_000;
  const days = byDay(
    [
      message(1, "a", NOON),
      message(2, "a", NOON + minute),
      message(3, "b", NOON + 2 * minute),
      message(4, "b", NOON + 20 * minute),
      message(5, "b", NOON + 24 * 60 * minute),
      message(6, "b", NOON + 24 * 60 * minute + 1),
    ],
    ["m6"],
  );
  expect(days.map(({ groups }) => groups.map(({ messages }) => messages.length))).toEqual([
    [2, 1, 1],
    [1, 1],
  ]);
});

test("the transcript holds every message, for people and for programs", () => {
  const room = {
    id: "123456",
    code: "123456",
    name: "Room",
    createdBy: "a",
    createdAt: 1,
    participantCount: 1,
    maxParticipants: 10,
  };
  const messages = [message(1, "a", 0, "two\nlines"), message(2, "b", 1000)];
  expect(asText(room, messages)).toBe(
    "Room (123456)\n\n[1970-01-01T00:00:00.000Z] a: two\n    lines\n[1970-01-01T00:00:01.000Z] b: text 2\n",
  );
  expect(JSON.parse(asJson(room, messages))).toMatchObject({ room: { code: "123456" }, messages });
});
