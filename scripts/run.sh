#!/usr/bin/env bash
# Starts both programs of a build profile (`run.sh quick`), with their settings from
# the environment or .env, until Ctrl-C. Written for the bash 3.2 of macOS too.
set -uo pipefail
cd "$(dirname "$0")/.." || exit
profile=${1:?"usage: run.sh PROFILE"}

# A variable's value as the programs will read it: the environment, else .env.
setting() {
    local value
    value=$(printenv "$1") && {
        echo "$value"
        return
    }
    [ -r .env ] || return 0
    sed -nE "s/^[[:space:]]*(export[[:space:]]+)?$1[[:space:]]*=[[:space:]]*//p" .env |
        tail -n 1 | sed -E "s/^\"(.*)\"[[:space:]]*\$/\\1/; s/^'(.*)'[[:space:]]*\$/\\1/"
}

# Each child is in a process group of its own, so that Ctrl-C reaches this
# script alone and the programs are stopped in their order.
set -m

service=""
gateway=""

# stop PID: asks a program that this script has started to stop, and waits for it.
stop() {
    [ -n "$1" ] || return 0
    kill -TERM "$1" 2>/dev/null
    wait "$1" 2>/dev/null
}

stop_all() {
    trap '' INT TERM HUP
    stop "$gateway"
    stop "$service"
}

interrupted() {
    echo
    echo "Stopping ..."
    stop_all
    exit 0
}
trap interrupted INT TERM HUP

# ended NAME PID: tells how a program ended, stops the others, ends as it did.
ended() {
    wait "$2"
    local status=$?
    echo "$1 ended with exit code $status; stopping the rest." >&2
    stop_all
    [ "$status" -ne 0 ] || status=1
    exit "$status"
}

# A wait that a signal interrupts at once.
moment() {
    sleep "$1" &
    wait $!
}

programs=${CARGO_TARGET_DIR:-target}/$profile
"$programs/persistence-service" </dev/null &
service=$!
"$programs/edge-gateway" </dev/null &
gateway=$!

listen=$(setting GATEWAY_LISTEN)
listen=${listen:-127.0.0.1:4000}
listen=${listen/#0.0.0.0:/127.0.0.1:}
listen=${listen/#\[::\]:/[::1]:}
host=${listen%:*}
host=${host#[}
host=${host%]}
opened=""

# Whether the gateway can serve: its service is up and has its store. What listens
# there may be somebody else's, and silent.
ready() {
    local line
    (
        exec 3<>"/dev/tcp/$host/${listen##*:}" &&
            printf 'GET /readyz HTTP/1.0\r\nHost: %s\r\n\r\n' "$listen" >&3 &&
            read -r -t 2 line <&3 && [[ $line == *" 200 "* ]]
    ) 2>/dev/null
}

while :; do
    kill -0 "$gateway" 2>/dev/null || ended "edge-gateway" "$gateway"
    kill -0 "$service" 2>/dev/null || ended "persistence-service" "$service"
    if [ -z "$opened" ] && ready; then
        opened=yes
        echo
        echo "  Roomkeeper is ready: open http://$listen"
        echo "  Ctrl-C stops it."
        echo
    fi
    moment 0.5
done
