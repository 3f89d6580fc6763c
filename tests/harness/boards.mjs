// What tests of the board share: elements as a bot writes them, and people with a room open.

import assert from "node:assert/strict";

import { until } from "./until.mjs";

/** An element as a bot writes it, with as little as it needs. */
export function shape(id, more) {
  return {
    id, type: "rectangle", version: 1, versionNonce: 1, x: 0, y: 0, width: 100, height: 80,
    strokeColor: "#000000", backgroundColor: "#ffc9c9", fillStyle: "solid", ...more,
  };
}

/** The same element, changed. */
export const newer = (element, more) => ({ ...element, version: element.version + 1, ...more });

/** People of these names with one room open, and a bot in it. */
export async function boardRoom(keeper, browser, names = ["Ann", "Bob"]) {
  const { code } = await keeper.room();
  const people = [];
  for (const name of names) people.push(await browser.person(keeper, name));
  await Promise.all(people.map((person) => person.enter(code)));
  const bot = await keeper.joined(code, { username: "Bot", sync: "delta" });
  return { code, people, bot };
}

/** Resolves when a person's board shows these versions, one of each element, from the lowest to the highest. */
export const shows = (person, ...versions) => until(`${person.name} sees ${versions}`, async () => {
  const scene = (await person.scene()).map(({ id, version }) => `${id}${version}`);
  assert.deepEqual(scene, versions);
  return true;
});
