#!/usr/bin/env bash
# Times framewright against diffusers; see compare.py. Brings its own pinned Python packages.
set -euo pipefail
cd "$(dirname "$0")/../.."
environment=${FRAMEWRIGHT_BENCH_VENV:-target/bench-venv}
if [ ! -x "$environment/bin/python" ]; then
    python3 -m venv "$environment"
fi
"$environment/bin/python" -m pip install --quiet --requirement scripts/golden/requirements.txt
exec "$environment/bin/python" scripts/bench/compare.py "$@"
