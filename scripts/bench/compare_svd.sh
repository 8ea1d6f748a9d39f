#!/usr/bin/env bash
# Times framewright's SVD networks against diffusers'; see compare_svd.py. Brings its own pinned Python packages, or uses those of
# PYTHON=... as scripts/golden/generate.sh does.
set -euo pipefail
cd "$(dirname "$0")/../.."
python=${PYTHON:-}
if [[ -z $python ]]; then
    environment=${FRAMEWRIGHT_BENCH_VENV:-target/bench-venv}
    python=$environment/bin/python
    [[ -x $python ]] || python3 -m venv "$environment"
    "$python" -m pip install --quiet --requirement scripts/golden/requirements.txt
fi
exec "$python" scripts/bench/compare_svd.py "$@"
