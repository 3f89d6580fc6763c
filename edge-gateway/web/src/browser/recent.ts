/** The rooms that this browser has been in, newest first. */

import { Remembered } from "./storage";

export interface RecentRoom {
  code: string;
  name: string;
  at: number;
}

const MOST = 6;

export const recentRooms = new Remembered<RecentRoom[]>("recent", read, JSON.stringify);

function read(stored: string): RecentRoom[] {
  try {
    const rooms: unknown = JSON.parse(stored || "[]");
    return Array.isArray(rooms) ? rooms.filter(isRecentRoom).slice(0, MOST) : [];
  } catch {
    return [];
  }
}

export function remember(code: string, name: string): void {
  const others = recentRooms.value.filter((room) => room.code !== code);
  recentRooms.set([{ code, name, at: Date.now() }, ...others].slice(0, MOST));
}

export function forget(code: string): void {
  recentRooms.set(recentRooms.value.filter((room) => room.code !== code));
}

function isRecentRoom(value: unknown): value is RecentRoom {
  const room = value as Partial<RecentRoom> | null;
  return typeof room?.code === "string" && typeof room.name === "string" && typeof room.at === "number";
}
