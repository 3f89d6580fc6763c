// A row of the table in docs/faults.md is a test of the same name.

import { test } from "node:test";

/** Whether this process is only asked which rows its file has. */
export const isListing = process.env.LIST_ROWS === "1";

/** Tests one row of the table. */
export function row(name, body, options = {}) {
  if (isListing) console.log(`row: ${name}`);
  else test(name, { timeout: 120_000, ...options }, body);
}
