import type { Message } from "../protocol/payloads";

/** Messages of one person without a long pause between them. */
export interface Group {
  userId: string;
  username: string;
  at: number;
  messages: Message[];
}

/** The groups of one calendar day. */
export interface Day {
  at: number;
  groups: Group[];
}

const PAUSE = 5 * 60_000;

/** By day and person, in the order of the messages. */
export function byDay(messages: readonly Message[], gaps: readonly string[]): Day[] {
  const days: Day[] = [];
  for (const message of messages) {
    let day = days.at(-1);
    if (!day || !isSameDay(day.at, message.ts)) {
      day = { at: message.ts, groups: [] };
      days.push(day);
    }
    const group = day.groups.at(-1);
    const last = group?.messages.at(-1);
    const continues =
      group && last
      && group.userId === message.userId
      && group.username === message.username
      && message.ts - last.ts < PAUSE
      && !gaps.includes(message.id);
    if (continues) group.messages.push(message);
    else {
      const { userId, username, ts } = message;
      day.groups.push({ userId, username, at: ts, messages: [message] });
    }
  }
  return days;
}

function isSameDay(a: number, b: number): boolean {
  return new Date(a).toDateString() === new Date(b).toDateString();
}
