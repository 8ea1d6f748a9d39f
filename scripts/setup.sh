#!/usr/bin/env bash
# Installs what building and running need and this machine lacks (Debian, Ubuntu). Does nothing when all is there.
#   scripts/setup.sh          for scripts/run.sh
#   scripts/setup.sh --test   also for scripts/test.sh: PostgreSQL, Prometheus and faketime, as programs that the tests start; nothing of
#                             them runs afterwards, or when the machine starts
set -euo pipefail

say() { printf 'setup: %s\n' "$*" >&2; }
fail() { say "$*"; exit 1; }

packages=()
need() { # need COMMAND PACKAGE
    command -v "$1" >/dev/null 2>&1 || packages+=("$2")
}
with_services=()
placed=()

# Debian starts a service as soon as its package is there, and makes a database cluster for PostgreSQL.
keep_services_down() {
    trap let_services_be EXIT
    place /usr/sbin/policy-rc.d '#!/bin/sh
exit 101'
    place /etc/postgresql-common/createcluster.d/framewright.conf 'create_main_cluster = false'
}

place() { # place FILE TEXT: unless there is one, until let_services_be
    [ -e "$1" ] && return
    "${as_root[@]}" mkdir -p "$(dirname "$1")"
    printf '%s\n' "$2" | "${as_root[@]}" tee "$1" >/dev/null
    "${as_root[@]}" chmod 755 "$1"
    placed+=("$1")
}

let_services_be() {
    trap - EXIT
    [ "${#placed[@]}" -eq 0 ] || "${as_root[@]}" rm -f "${placed[@]}"
    placed=()
    if [ "${#with_services[@]}" -gt 0 ] && command -v systemctl >/dev/null 2>&1; then
        "${as_root[@]}" systemctl disable --quiet "${with_services[@]}" 2>/dev/null || true
    fi
}

need cc gcc
need curl curl
need jq jq
# FFmpeg's libraries are linked; its programs are what the tests hold films against, and what the first run shows a film with.
need ffmpeg ffmpeg
need ffprobe ffmpeg
need pkg-config pkg-config
for library in avcodec avfilter avformat avutil swresample swscale; do
    if ! command -v pkg-config >/dev/null 2>&1 || ! pkg-config --exists "lib$library"; then
        packages+=("lib$library-dev")
    fi
done
# What their headers become in Rust is made at build time, by libclang and with clang's own headers.
if ! compgen -G '/usr/lib/llvm-*/lib/libclang*.so*' >/dev/null && ! compgen -G '/usr/lib/*/libclang*.so*' >/dev/null; then
    packages+=(libclang-dev)
fi
need clang clang
[ -e /etc/ssl/certs/ca-certificates.crt ] || packages+=(ca-certificates)
# A compiler without the C library's headers cannot build anything.
if command -v cc >/dev/null 2>&1 && ! printf '#include <stdlib.h>\n' | cc -E - >/dev/null 2>&1; then
    packages+=(libc6-dev)
fi
if [ "${1:-}" = --test ]; then
    need python3 python3
    # Debian's python3 comes without ensurepip, and then cannot make a virtual environment.
    if ! command -v python3 >/dev/null 2>&1 || ! python3 -c 'import ensurepip, venv' >/dev/null 2>&1; then
        packages+=(python3-venv)
    fi
    # What comes with a service that nobody asked for.
    others=${#packages[@]}
    compgen -G '/usr/lib/postgresql/*/bin/initdb' >/dev/null || packages+=(postgresql)
    need prometheus prometheus
    with_services=("${packages[@]:$others}")
    need faketime faketime
    need setpriv util-linux
    need ps procps
fi

if [ "${#packages[@]}" -gt 0 ]; then
    say "installing: ${packages[*]}"
    command -v apt-get >/dev/null 2>&1 || fail "this is neither Debian nor Ubuntu; install these by hand and run again: ${packages[*]}"
    as_root=()
    if [ "$(id -u)" != 0 ]; then
        command -v sudo >/dev/null 2>&1 || fail "not root, and there is no sudo; as root: apt-get install ${packages[*]}"
        as_root=(sudo)
    fi
    export DEBIAN_FRONTEND=noninteractive
    "${as_root[@]}" apt-get update -qq </dev/null
    if [ "${#with_services[@]}" -gt 0 ]; then
        keep_services_down
    fi
    "${as_root[@]}" apt-get install -qq -y --no-install-recommends "${packages[@]}" </dev/null
    let_services_be
fi

command -v cargo >/dev/null 2>&1 || fail "there is no cargo; install Rust from https://rustup.rs and run again"
