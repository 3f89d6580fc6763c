# Sourced by test.sh: counts what checks and test runners say.
#
# `total` prints the sum: the failures, the flaky files, and as the last line
# `N passed, N failed`, the tests of all runners. A check that is no test runner
# (format, lints, documentation, a build) counts only where it fails, as one.

# More flaky files than this fail the run.
FLAKY_LIMIT=2

scripts=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
logs=$(mktemp -d "${TMPDIR:-/tmp}/roomkeeper-test.XXXXXX")
trap 'rm -rf "$logs"' EXIT

passed=0
failed=0
flaky=0
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

# node_tests NAME CONCURRENCY SECONDS PATTERN: runs the files in tests/ that match a
# pattern, several at once, and each for so many seconds at most. A failed file runs once
# more, unless it is one of faults/ or mutants/; the sum counts the second run.
node_tests() {
    local name=$1 concurrency=$2 seconds=$3 pattern=$4 status told
    echo "== $name"
    # The pattern is expanded in tests/: Node 20 expands none.
    # shellcheck disable=SC2086
    (cd "${TESTS:-tests}" && node "$scripts/node_tests.mjs" "$concurrency" "$seconds" \
        "$logs/node" "$logs/flaky" $pattern)
    status=$?
    read -r -a told <"$logs/node" || told=(0 0 0)
    count "$name" "$status" "${told[0]}" "${told[1]}"
    flaky=$((flaky + told[2]))
    rm -f "$logs/node"
}

total() {
    if [ "$flaky" -gt "$FLAKY_LIMIT" ]; then
        fails "flaky files: $flaky, and at most $FLAKY_LIMIT may be"
    fi
    if [ -n "$failures" ]; then
        echo
        echo "Failed:$failures"
    fi
    if [ "$flaky" -gt 0 ]; then
        echo
        echo "Flaky: files that failed, and passed when they ran once more"
        echo
        cat "$logs/flaky"
        echo
    fi
    echo "$passed passed, $failed failed"
    [ "$failed" -eq 0 ]
}
