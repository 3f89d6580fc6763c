// Who is present when a gateway dies, and when nobody can say that he lives.

import assert from "node:assert/strict";
import { test } from "node:test";

import { indexOfLeasesStale } from "../harness/faults/nemesis.mjs";
import { hold } from "../harness/faults/hold.mjs";
import { isListing, row } from "../harness/faults/row.mjs";
import { LEASE, named, peopleOfAKilledGateway } from "../harness/faults/scenes.mjs";
import { Stage } from "../harness/faults/stage.mjs";
import { Roomkeeper } from "../harness/roomkeeper.mjs";
import { until } from "../harness/until.mjs";

const stage = isListing ? undefined : await Stage.start();

row(indexOfLeasesStale.name, () => stage.play([indexOfLeasesStale]));

if (!isListing) {
  test("P11: a killed gateway's people are gone within 45 s and not before their leases; a tab elsewhere keeps its user",
    { timeout: 120_000 }, () => peopleOfAKilledGateway(stage.keeper));
}

row("an outage longer than a lease", async () => {
  const keeper = await Roomkeeper.start({ services: 2, gateways: 2, shared: true });
  const { code } = await keeper.room({ maxParticipants: 20 });
  const members = [];
  for (const gateway of [0, 1, 0, 1]) members.push(await keeper.joined(code, { gateway, sync: "delta" }));
  await keeper.joined(code, { gateway: 1, username: "Ghost" });
  const [witness, other] = members.filter((_, n) => n % 2 === 0);
  for (const member of [witness, other]) {
    await member.next("presence:update", (list) => list.length === 5);
  }
  await keeper.redis.freeze();
  await hold(LEASE + 4_000, "so long that every lease has passed");
  // A gateway dies meanwhile: that its people are ended shows that sessions are ended again.
  await keeper.gateways[1].program.kill();
  keeper.redis.signal("SIGCONT");
  keeper.gateways[1].program.start();
  await keeper.ready();
  await until("the dead are gone, and nobody else", () =>
    [witness, other].every((member) =>
      named(member.received("presence:update").at(-1)).join() === `${witness.username},${other.username}`),
  90_000);
  for (const member of [witness, other]) {
    assert.ok(member.socket.connected);
    const lists = member.received("presence:update");
    const all = lists.findIndex(({ length }) => length === 5);
    for (const list of lists.slice(all)) {
      for (const { username } of [witness, other]) {
        assert.ok(named(list).includes(username), `${username} was ended and lives`);
      }
    }
    member.assertUnbroken(code);
  }
  assert.equal((await keeper.about(code)).participantCount, 2);
  await witness.say(code, "still here");
}, { timeout: 180_000 });
