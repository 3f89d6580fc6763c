// Rooms that end while people are in them.

import assert from "node:assert/strict";

import * as nemesis from "../harness/faults/nemesis.mjs";
import { isListing, row } from "../harness/faults/row.mjs";
import { expiresInMidSession, LIFE } from "../harness/faults/scenes.mjs";
import { Stage } from "../harness/faults/stage.mjs";

const stage = isListing ? undefined : await Stage.start();
const brief = isListing ? undefined : await Stage.start({ serviceEnv: { ROOM_TTL: `${LIFE / 1000}s` } });

for (const fault of [nemesis.flushAll, nemesis.hashDeleted, nemesis.roomDeleted]) {
  row(fault.name, async () => {
    // Nobody goes by himself: who comes back finds no room, and would not be told.
    const { rooms, crowd } = await stage.play([fault], { only: ["say", "sayTwice", "draw", "drawShared"] });
    assert.equal(rooms.filter(({ loss }) => loss === "ended").length, fault === nemesis.flushAll ? 3 : 1);
    // Those who were in were told so; who was on the way finds no room.
    const told = crowd.tabs.map(({ reader }) => reader.closed).filter(Boolean);
    assert.ok(told.length > 0, "nobody was told");
    assert.ok(told.every((reason) => reason === "deleted"), `the reasons were ${told}`);
  });
}

row("a room that expires in mid-session", () => expiresInMidSession(brief));
