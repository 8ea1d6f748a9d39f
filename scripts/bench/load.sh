#!/usr/bin/env bash
# Jobs a second from submitted to completed, GET latency meanwhile and memory over 100,000 jobs: a release build with fake devices that
# take no time, SQLite on the disk, over HTTP keep-alive, the load generator on the same cores. Fails when a target is missed
# (tests/trials/load has them). The database and the pictures lie in TMPDIR for as long as it runs: about 1 GB.
#   scripts/bench/load.sh
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/../environment.sh"
cd "$root"
"$root/scripts/setup.sh"
exec env FRAMEWRIGHT_LONG=1 cargo test --locked --release --test trials load::
