#!/usr/bin/env bash
# Sets up what the tests need besides Rust and Node: a redis-server, the npm packages.
set -euo pipefail
cd "$(dirname "$0")/../.."

if ! command -v redis-server >/dev/null; then
    if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
        echo "Installing redis-server ..."
        export DEBIAN_FRONTEND=noninteractive
        apt-get update -qq
        apt-get install -y -qq --no-install-recommends redis-server >/dev/null
    else
        echo "redis-server is missing. Install it: apt-get install redis-server, or brew install redis." >&2
        exit 1
    fi
fi

if ! command -v npm >/dev/null; then
    echo "Node 20 or later with npm is missing: the black-box tests are written for it." >&2
    exit 1
fi

# Anew where the lock file is newer than what it installed.
if [ ! -e tests/node_modules/.package-lock.json ] ||
    [ tests/package-lock.json -nt tests/node_modules/.package-lock.json ]; then
    npm --prefix tests ci --ignore-scripts --no-audit --no-fund
fi
