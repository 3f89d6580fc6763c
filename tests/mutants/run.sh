#!/usr/bin/env bash
# Proves that the tests can fail: builds the programs with one fault of ours at a time, and
# demands that the tests named for it find it within a minute. Names as arguments choose;
# MUTANTS_PROFILE names another build profile than `release`.
set -euo pipefail
cd "$(dirname "$0")/../.."
bash tests/scripts/setup.sh
exec node tests/mutants/run.mjs "$@"
