// The store in a file: the faults that there are without a Redis, from the same code.

import { allKilled, gatewayKilled, gatewayStopped, networkFaults, rollingRestart, serviceKilled, serviceStopped } from "../harness/faults/nemesis.mjs";
import { isListing, row } from "../harness/faults/row.mjs";
import { expiresInMidSession, LIFE, peopleOfAKilledGateway } from "../harness/faults/scenes.mjs";
import { Stage } from "../harness/faults/stage.mjs";

const start = (more) => (isListing ? undefined : Stage.start({ store: "embedded", ...more }));
const stage = await start();
const brief = await start({ serviceEnv: { ROOM_TTL: `${LIFE / 1000}s` } });

row("embedded store: the service killed in mid-write", () =>
  stage.play([serviceKilled, serviceKilled, serviceKilled], { rate: 250 }));

for (const fault of [
  gatewayKilled, allKilled, rollingRestart, serviceStopped(1), serviceStopped(5), gatewayStopped(1),
  ...networkFaults.filter(({ name }) => name.startsWith("gateway and service")),
]) {
  row(`embedded store: ${fault.name}`, () => stage.play([fault]));
}

row("embedded store: a room that expires in mid-session", () => expiresInMidSession(brief));

row("embedded store: the people of a killed gateway", () => peopleOfAKilledGateway(stage.keeper));
