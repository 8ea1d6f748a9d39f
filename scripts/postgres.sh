#!/usr/bin/env bash
# A private PostgreSQL for tests, from the Debian package (apt-get install postgresql): nothing of the machine's own is touched.
#   scripts/postgres.sh run COMMAND...   starts a server, sets FRAMEWRIGHT_TEST_POSTGRES (its URL) and FRAMEWRIGHT_TEST_POSTGRES_CLUSTER
#                                        (its directory), runs the command, removes the server; exits as the command did
#   scripts/postgres.sh kill DIRECTORY   kills every process of that server at once, as a power cut would
#   scripts/postgres.sh start DIRECTORY  starts it again and waits until it answers
# Listens on loopback alone, on a free port, and trusts whoever connects: it holds test data. The disk is synced, as in earnest.
set -euo pipefail

fail() { printf 'postgres: %s\n' "$*" >&2; exit 1; }

binaries=
for candidate in /usr/lib/postgresql/*/bin; do
    if [ -x "$candidate/initdb" ]; then binaries=$candidate; fi
done
[ -n "$binaries" ] || fail "no PostgreSQL server found; as root: apt-get install postgresql"

# The server refuses to run as root.
as_owner() {
    if [ "$(id -u)" = 0 ]; then
        setpriv --reuid=postgres --regid=postgres --clear-groups "$@"
    else
        "$@"
    fi
}

start() { # start DIRECTORY
    # Since 9.6 a killed server's children may hold its memory for a moment; starting is tried until they have gone.
    local attempt
    for attempt in 1 2 3 4 5; do
        if as_owner "$binaries/pg_ctl" start --silent --wait --timeout 60 --pgdata "$1/data" --log "$1/log" >/dev/null; then
            return 0
        fi
        sleep 0.5
    done
    tail -n 20 "$1/log" >&2
    fail "the server does not start"
}

free_port() {
    python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'
}

create() { # create DIRECTORY PORT
    if [ "$(id -u)" = 0 ]; then
        chown postgres: "$1"
    fi
    as_owner "$binaries/initdb" --pgdata "$1/data" --username framewright --auth trust --encoding UTF8 --locale C.UTF-8 >"$1/initdb.log" 2>&1 \
        || { cat "$1/initdb.log" >&2; fail "initdb failed"; }
    as_owner tee -a "$1/data/postgresql.conf" >/dev/null <<END
listen_addresses = '127.0.0.1'
port = $2
unix_socket_directories = ''
max_connections = 300
fsync = on
synchronous_commit = on
END
}

run() {
    [ "$#" -gt 0 ] || fail "run what?"
    cluster=$(mktemp -d "${TMPDIR:-/tmp}/framewright-postgres.XXXXXX")
    trap 'as_owner "$binaries/pg_ctl" stop --silent --mode immediate --pgdata "$cluster/data" >/dev/null 2>&1 || true; rm -rf "$cluster"' EXIT
    trap 'exit 130' INT
    trap 'exit 143' TERM
    local port
    port=$(free_port)
    create "$cluster" "$port"
    start "$cluster"
    export FRAMEWRIGHT_TEST_POSTGRES=postgres://framewright@127.0.0.1:$port/postgres
    export FRAMEWRIGHT_TEST_POSTGRES_CLUSTER=$cluster
    "$@"
}

kill_cluster() { # kill_cluster DIRECTORY
    local server children
    server=$(head -n 1 "$1/data/postmaster.pid")
    children=$(ps -o pid= --ppid "$server" || true)
    # shellcheck disable=SC2086 # several numbers
    kill -9 "$server" $children 2>/dev/null || true
    # Its port and its memory are free when its processes have gone.
    while ps -o pid= -p "$server" >/dev/null; do sleep 0.05; done
    rm -f "$1/data/postmaster.pid"
}

command=${1:-}
[ "$#" -eq 0 ] || shift
case $command in
    run) run "$@" ;;
    kill) [ -d "${1:-}/data" ] || fail "kill which directory?"; kill_cluster "$1" ;;
    start) [ -d "${1:-}/data" ] || fail "start which directory?"; start "$1" ;;
    *) fail "usage: scripts/postgres.sh run COMMAND... | kill DIRECTORY | start DIRECTORY" ;;
esac
