#!/usr/bin/env bash
# Sets up what tests and benchmarks need besides Rust and Node: a redis-server, the npm
# packages; with `browser`, the three browser engines and the web
# client's packages too.
set -euo pipefail
cd "$(dirname "$0")/../.."

# debian PACKAGE HINT: installs a package where that can be done without asking.
debian() {
    if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
        echo "Installing $1 ..."
        export DEBIAN_FRONTEND=noninteractive
        apt-get update -qq
        apt-get install -y -qq --no-install-recommends "$1" >/dev/null
    else
        echo "$1 is missing. $2" >&2
        exit 1
    fi
}

command -v redis-server >/dev/null ||
    debian redis-server "Install it: apt-get install redis-server, or brew install redis."

node_fits='const [a, b] = process.versions.node.split("."); process.exit(a > 20 || (a == 20 && b >= 19) ? 0 : 1)'
if ! command -v npm >/dev/null || ! node -e "$node_fits"; then
    echo "Node 20.19 or later with npm is missing: it builds the web client and runs the tests." >&2
    exit 1
fi

# packages FOLDER: npm ci, anew where the lock file is newer than what it installed.
packages() {
    local installed="$1/node_modules/.package-lock.json"
    if [ ! -e "$installed" ] || [ "$1/package-lock.json" -nt "$installed" ]; then
        npm --prefix "$1" ci --ignore-scripts --no-audit --no-fund --loglevel=error
        touch "$installed"
    fi
}

packages tests
[ "${1:-}" = browser ] || exit 0

# The same places in which tests/harness/browser.mjs looks.
chromium() {
    local path
    for path in "${CHROMIUM:-}" /usr/bin/chromium /usr/bin/chromium-browser /usr/bin/google-chrome \
        "/Applications/Google Chrome.app/Contents/MacOS/Google Chrome"; do
        [ -z "$path" ] || [ ! -x "$path" ] || return 0
    done
    return 1
}
chromium ||
    debian chromium "Install it: apt-get install chromium; or say in CHROMIUM where a Chrome or Chromium is."

# Firefox, and WebKit on a display without a screen. The same places in which
# tests/harness/engines.mjs looks. Elsewhere than on Linux their tests are skipped where they
# are missing.
if [ "$(uname)" = Linux ]; then
    [ -x /usr/bin/firefox-esr ] || [ -x /usr/bin/firefox ] ||
        debian firefox-esr "Install it: apt-get install firefox-esr, or your system's Firefox."
    [ -x /usr/bin/WebKitWebDriver ] ||
        debian webkit2gtk-driver "Install it: apt-get install webkit2gtk-driver."
    command -v Xvfb >/dev/null ||
        debian xvfb "Install it: apt-get install xvfb."
fi

packages edge-gateway/web
