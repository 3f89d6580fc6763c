// What a room is for, in WebKit.

import { journey } from "./journey.mjs";

await journey("WebKit");
