import { expect, test } from "vitest";

import { advise, pauseBefore } from "./refusals";

test("an invalid field is named, and a code of a newer server has the server's own words", () => {
  expect(advise({ code: "INVALID_ARGUMENT", error: "name: too long" }).text).toBe(
    "The server did not accept this: name: too long.",
  );
  const unknown = advise({ code: "TEAPOT" as never, error: "I am a teapot" });
  expect(unknown).toEqual({ text: "I am a teapot", next: "ask" });
});

test("pauses grow, end growing, and are the server's where it names one", () => {
  expect(pauseBefore({ retryAfterMs: 7 }, 3)).toBe(7);
  for (const [tries, least, most] of [[0, 300, 500], [1, 600, 1000], [50, 3000, 5000]] as const) {
    const pause = pauseBefore({}, tries);
    expect(pause).toBeGreaterThanOrEqual(least);
    expect(pause).toBeLessThanOrEqual(most);
  }
});
