#!/usr/bin/env bash
# Runs every check and every test, goes on where one fails, and ends with the sum.
#
# The last line is `N passed, N failed`: the tests of all runners. A check that
# is no test runner (format, lints, documentation, a build) counts only where it
# fails, as one.
set -uo pipefail
cd "$(dirname "$0")/../.." || exit
exec </dev/null
export CI=true

logs=$(mktemp -d "${TMPDIR:-/tmp}/roomkeeper-test.XXXXXX")
trap 'rm -rf "$logs"' EXIT

passed=0
failed=0
failures=""

fails() {
    failed=$((failed + 1))
    failures="$failures
  $1"
}

# check NAME COMMAND...: something that either holds or does not.
check() {
    local name=$1
    shift
    echo "== $name"
    "$@" || fails "$name"
}

# sum FILE PATTERN: adds the numbers that the (extended) pattern's group finds.
sum() {
    sed -nE "s/$2/\\1/p" "$1" | awk '{ total += $1 } END { print total + 0 }'
}

# count NAME STATUS PASSED FAILED: what one test runner says. One that fails
# without a failed test, or runs none, did not run to its end.
count() {
    passed=$((passed + $3))
    failed=$((failed + $4))
    if [ "$4" -gt 0 ]; then
        failures="$failures
  $1: $4 tests"
    elif [ "$2" -ne 0 ]; then
        fails "$1 (exit $2)"
    elif [ "$3" -eq 0 ]; then
        fails "$1 (no test ran)"
    fi
}

total() {
    if [ -n "$failures" ]; then
        echo
        echo "Failed:$failures"
    fi
    echo "$passed passed, $failed failed"
    [ "$failed" -eq 0 ]
}

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

# node_tests NAME CONCURRENCY SECONDS PATTERN: the files in tests/ of a pattern, so many at
# once, each for so long at most: Node counts the time of a whole file.
node_tests() {
    local name=$1 concurrency=$2 seconds=$3 pattern=$4 status
    echo "== $name"
    # The pattern is expanded in tests/: Node 20 expands none.
    # shellcheck disable=SC2086
    (cd tests && node --test --test-concurrency="$concurrency" --test-timeout="$seconds"000 \
        --test-reporter=spec --test-reporter-destination=stdout \
        --test-reporter=tap --test-reporter-destination="$logs/node" \
        $pattern)
    status=$?
    # The runner's own sum stands at the end; what a file printed stands before it.
    tail -n 12 "$logs/node" >"$logs/node-sum" 2>/dev/null || : >"$logs/node-sum"
    count "$name" "$status" \
        "$(sum "$logs/node-sum" '^# pass ([0-9]+)$')" \
        $(($(sum "$logs/node-sum" '^# fail ([0-9]+)$') + $(sum "$logs/node-sum" '^# cancelled ([0-9]+)$')))
    rm -f "$logs/node"
}

node_tests "black-box tests" "${TEST_CONCURRENCY:-3}" 180 'e2e/*.test.mjs'
# What holds for one service, without any Redis, in the store in a file.
ROOMKEEPER_STORE=embedded node_tests "black-box tests, embedded store" "${TEST_CONCURRENCY:-3}" 180 \
    "$(printf 'e2e/%s.test.mjs ' main_job http grpc refusals whiteboard presence resume races expiry)"
node_tests "fault suite" "${FAULT_CONCURRENCY:-3}" 600 'faults/*.test.mjs'
node_tests "browser tests" "${BROWSER_CONCURRENCY:-2}" 180 'browser/*.test.mjs'

total
