#!/usr/bin/env bash
# Installs what building and running need and this machine lacks (Debian, Ubuntu). Does nothing when all is there.
#   scripts/setup.sh          for scripts/run.sh
#   scripts/setup.sh --test   also for scripts/test.sh
set -euo pipefail

say() { printf 'setup: %s\n' "$*" >&2; }
fail() { say "$*"; exit 1; }

packages=()
need() { # need COMMAND PACKAGE
    command -v "$1" >/dev/null 2>&1 || packages+=("$2")
}
need cc gcc
need curl curl
need jq jq
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
    "${as_root[@]}" apt-get install -qq -y --no-install-recommends "${packages[@]}" </dev/null
fi

command -v cargo >/dev/null 2>&1 || fail "there is no cargo; install Rust from https://rustup.rs and run again"
