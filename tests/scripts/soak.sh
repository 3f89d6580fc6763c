#!/usr/bin/env bash
# A minute of fuzzing each port, then every fault, alone and mixed, for SOAK_MINUTES (20).
# SEED and EPISODE, which a failure prints, play one episode of it again.
set -euo pipefail
cd "$(dirname "$0")/../.."
bash tests/scripts/setup.sh
cd tests

minutes="${SOAK_MINUTES:-20}"
if [ -z "${EPISODE:-}" ]; then
    export FUZZ_SECONDS="${FUZZ_SECONDS:-60}"
    node --test --test-reporter=spec --test-timeout=$(((FUZZ_SECONDS + 120) * 1000)) e2e/fuzz.test.mjs
fi
# An episode that has begun is played to its end.
node --test --test-reporter=spec --test-timeout=$(((minutes + 15) * 60000)) faults/soak.mjs
