/** The others on the board: their names, where they point and what they have selected. */

import type { Collaborator, ExcalidrawImperativeAPI, SocketId } from "@excalidraw/excalidraw/types";

import type { Participant, SomebodyPoints } from "../protocol/payloads";

export class Others {
  readonly #api: ExcalidrawImperativeAPI;
  // Excalidraw's own state is late where several people move at once: it would lose some.
  readonly #people = new Map<SocketId, Collaborator>();
  #frame = 0;

  constructor(api: ExcalidrawImperativeAPI) {
    this.#api = api;
  }

  /** These are here, and nobody else; who stays goes on pointing. */
  here(people: readonly Participant[]): void {
    const before = new Map(this.#people);
    this.#people.clear();
    for (const { userId, username } of people) {
      const id = userId as SocketId;
      this.#people.set(id, { ...before.get(id), id, username });
    }
    this.#show();
  }

  /** Somebody points. What they send is theirs to choose, so only what fits is taken. */
  points({ userId, x, y, tool, button, selected }: SomebodyPoints): void {
    const id = userId as SocketId;
    const person = this.#people.get(id);
    if (!person || typeof x !== "number" || typeof y !== "number") return;
    const ids = Array.isArray(selected) ? selected.filter((one) => typeof one === "string") : [];
    this.#people.set(id, {
      ...person,
      pointer: { x, y, tool: tool === "laser" ? "laser" : "pointer" },
      button: button === "down" ? "down" : "up",
      selectedElementIds: Object.fromEntries(ids.map((one) => [one, true as const])),
    });
    this.#show();
  }

  stop(): void {
    cancelAnimationFrame(this.#frame);
  }

  /** Once a frame, however many of them move. */
  #show(): void {
    cancelAnimationFrame(this.#frame);
    this.#frame = requestAnimationFrame(() => this.#api.updateScene({ collaborators: new Map(this.#people) }));
  }
}
