// A Redis Cluster of three masters and three replicas: what happens to one of them concerns
// its own rooms only.

import { clustered } from "../harness/faults/failovers.mjs";
import { isListing, row } from "../harness/faults/row.mjs";
import { Stage } from "../harness/faults/stage.mjs";

const stage = isListing ? undefined : await Stage.start({ store: "cluster" });

for (const fault of clustered) row(fault.name, () => stage.play([fault]));
