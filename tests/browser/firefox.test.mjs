// What a room is for, in Firefox.

import { journey } from "./journey.mjs";

await journey("Firefox");
