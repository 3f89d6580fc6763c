#!/usr/bin/env bash
# Runs every check and every test, goes on where one fails, and ends with the sum, whose
# last line is `N passed, N failed`.
set -uo pipefail
cd "$(dirname "$0")/../.." || exit
exec </dev/null
export CI=true
# shellcheck source=sum.sh
source tests/scripts/sum.sh

buf=tests/node_modules/.bin/buf

bash tests/scripts/setup.sh browser || {
    fails "setup"
    total
    exit 1
}

# First, because the gateway is built around it.
check "web client: types and build" make --no-print-directory client

echo "== web client: unit tests"
npm --prefix edge-gateway/web test -- --reporter=default --reporter=json --outputFile.json="$logs/vitest"
status=$?
# told FILE NAME: a number from the JSON of Vitest; none where it wrote no file.
told() {
    node -e 'try { console.log(JSON.parse(fs.readFileSync(process.argv[1]))[process.argv[2]]) } catch { console.log(0) }' "$1" "$2"
}
count "web client: unit tests" "$status" "$(told "$logs/vitest" numPassedTests)" "$(told "$logs/vitest" numFailedTests)"

check "format" cargo fmt --all --check
check "schema: lint" "$buf" lint
check "schema: format" "$buf" format --diff --exit-code
check "schema: breaking changes" "$buf" breaking --against proto/roomkeeper.binpb
check "clippy" cargo clippy --workspace --all-targets -- -D warnings
check "documentation" env RUSTDOCFLAGS="-D warnings" cargo doc --workspace --no-deps --quiet
if command -v cargo-deny >/dev/null; then
    check "dependencies" cargo deny --config .deny.toml check bans licenses sources
else
    echo "== dependencies: skipped, cargo-deny is not installed"
fi

echo "== cargo test"
cargo test --workspace --no-fail-fast 2>&1 | tee "$logs/cargo"
status=${PIPESTATUS[0]}
results='^test result: .*'
count "cargo test" "$status" \
    "$(sum "$logs/cargo" "$results"' ([0-9]+) passed.*')" \
    "$(sum "$logs/cargo" "$results"' ([0-9]+) failed.*')"

check "release build" cargo build --release --workspace

node_tests "sum of the tests" 2 180 'scripts/*.test.mjs'
node_tests "black-box tests" "${TEST_CONCURRENCY:-3}" 180 'e2e/*.test.mjs'
# What holds for one service, without any Redis, in the store in a file.
ROOMKEEPER_STORE=embedded node_tests "black-box tests, embedded store" "${TEST_CONCURRENCY:-3}" 180 \
    "$(printf 'e2e/%s.test.mjs ' main_job http grpc refusals whiteboard presence resume races expiry before_join restarts)"
node_tests "fault suite" "${FAULT_CONCURRENCY:-3}" 600 'faults/*.test.mjs'
node_tests "browser tests" "${BROWSER_CONCURRENCY:-2}" 300 'browser/*.test.mjs'

total
