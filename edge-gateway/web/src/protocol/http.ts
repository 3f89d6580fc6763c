import type { Answer, Messages, OneRoom, Refusal, Rooms } from "./payloads";

/** What stands for an answer where none came. */
const UNREACHABLE: Refusal = {
  success: false,
  code: "UNREACHABLE",
  error: "the server cannot be reached",
};

/** The server answers within two seconds or says why not; what takes longer is a lost network. */
const PATIENCE = 10_000;

export function listRooms(limit: number): Promise<Answer<Rooms>> {
  return request(`/api/rooms?limit=${limit}`);
}

export function createRoom(room: {
  name: string;
  createdBy: string;
  maxParticipants: number;
}): Promise<Answer<OneRoom>> {
  return request("/api/rooms", {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: JSON.stringify(room),
  });
}

export function readRoom(code: string): Promise<Answer<OneRoom>> {
  return request(`/api/rooms/${code}`);
}

/** The messages before a revision, or the newest; oldest first. */
export function listMessages(code: string, limit: number, before?: number): Promise<Answer<Messages>> {
  const from = before === undefined ? "" : `&before=${before}`;
  return request(`/api/rooms/${code}/messages?limit=${limit}${from}`);
}

async function request<T>(path: string, init: RequestInit = {}): Promise<Answer<T>> {
  try {
    const response = await fetch(path, { ...init, signal: AbortSignal.timeout(PATIENCE) });
    return (await response.json()) as Answer<T>;
  } catch {
    return UNREACHABLE;
  }
}
