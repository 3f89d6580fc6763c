#!/usr/bin/env bash
# Two browsers that draw at random for SOAK_MINUTES (30), and must end with the same board.
# SEED and ROUND, which a failure prints, play one round of it again.
set -euo pipefail
cd "$(dirname "$0")/../.."
bash tests/scripts/setup.sh browser
cd tests

minutes="${SOAK_MINUTES:-30}"
# A round that has begun is played to its end.
node --test --test-reporter=spec --test-timeout=$(((minutes + 10) * 60000)) browser/soak.mjs
