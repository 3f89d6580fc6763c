#!/usr/bin/env bash
# Proves that the fault suite can fail: builds the programs with one fault of ours at a
# time, and demands that the suite finds it within a minute. Names as arguments choose.
set -euo pipefail
cd "$(dirname "$0")/../.."
bash tests/scripts/setup.sh
exec node tests/mutants/run.mjs "$@"
