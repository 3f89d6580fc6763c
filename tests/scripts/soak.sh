#!/usr/bin/env bash
# A minute of fuzzing each port, then the black-box tests again and again.
set -euo pipefail
cd "$(dirname "$0")/../.."
bash tests/scripts/setup.sh
cd tests

export FUZZ_SECONDS="${FUZZ_SECONDS:-60}"
node --test --test-timeout=$(((FUZZ_SECONDS + 120) * 1000)) e2e/fuzz.test.mjs

export FUZZ_SECONDS=6
round=1
while [ "$round" -le "${SOAK_ROUNDS:-3}" ]; do
    echo "== round $round"
    node --test --test-concurrency="${TEST_CONCURRENCY:-3}" --test-timeout=180000 e2e/*.test.mjs
    round=$((round + 1))
done
