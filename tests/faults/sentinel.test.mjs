// A Redis with a replica and three sentinels, which choose another master.

import { watched } from "../harness/faults/failovers.mjs";
import { isListing, row } from "../harness/faults/row.mjs";
import { Stage } from "../harness/faults/stage.mjs";

const stage = isListing ? undefined : await Stage.start({ store: "sentinel" });

for (const fault of watched) row(fault.name, () => stage.play([fault]));
