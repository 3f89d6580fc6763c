// A reporter for Node's test runner that writes what one run came to, as JSON.

const COUNT = /^(pass|fail|cancelled) (\d+)$/;

/** Yields `{passed, failed, failures}`; `failures` are the names of the tests that failed. */
export default async function* tally(events) {
  const counts = { pass: 0, fail: 0, cancelled: 0 };
  const failures = [];
  for await (const { type, data } of events) {
    if (type === "test:diagnostic") {
      // The runner sends its own counts last, after whatever a test reports in this way.
      const [, name, count] = data.message.match(COUNT) ?? [];
      if (name) counts[name] = Number(count);
    } else if (type === "test:fail" && data.details.error.failureType !== "subtestsFailed") {
      failures.push(data.name);
    }
  }
  yield JSON.stringify({ passed: counts.pass, failed: counts.fail + counts.cancelled, failures });
}
