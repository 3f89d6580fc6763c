#!/usr/bin/env bash
# Runs the benchmark, or the parts of it that BENCH_ONLY names. The release binaries are
# built already.
set -euo pipefail
cd "$(dirname "$0")/../.."

bash tests/scripts/setup.sh
baseline=tests/benches/baseline
if [ ! -e $baseline/node_modules/.package-lock.json ] ||
    [ $baseline/package-lock.json -nt $baseline/node_modules/.package-lock.json ]; then
    npm --prefix $baseline ci --ignore-scripts --no-audit --no-fund
fi

cargo=${CARGO:-cargo}
only=${BENCH_ONLY:-}
# Whether a part is to be run.
has() {
    [ -z "$only" ] || [[ ",$only," == *",$1,"* ]]
}

$cargo bench --quiet -p roomkeeper-tests --no-run
load=0
for part in chat crowd join visit board idle service growth footprint; do
    if has $part; then load=1; fi
done
if [ $load = 1 ]; then $cargo bench --quiet -p roomkeeper-tests --bench load; fi
if has rpc; then $cargo bench --quiet -p roomkeeper-tests --bench rpc_latency; fi
if has hot_paths; then $cargo bench --quiet -p roomkeeper-tests --bench hot_paths; fi
if has instructions; then
    if command -v valgrind >/dev/null; then
        $cargo bench --quiet -p roomkeeper-tests --bench hot_paths -- --instructions
    else
        echo "valgrind is missing, so no instructions were counted: apt-get install valgrind" >&2
    fi
fi
