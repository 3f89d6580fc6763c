// What a room is for, in Chromium.

import { journey } from "./journey.mjs";

await journey("Chromium");
