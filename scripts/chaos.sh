#!/usr/bin/env bash
# The long form of the chaos trials: hundreds of jobs on fake devices while servers, device workers and PostgreSQL are killed, on SQLite
# and on PostgreSQL with two servers. Prints its seed; FRAMEWRIGHT_SEED=N makes the same choices again. About ten minutes.
#   scripts/chaos.sh
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/environment.sh"
cd "$root"
"$root/scripts/setup.sh" --test
exec env FRAMEWRIGHT_LONG=1 scripts/postgres.sh run cargo test --locked --test trials chaos::
