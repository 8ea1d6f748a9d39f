#!/usr/bin/env bash
# Regenerates the engine's golden fixtures. The Python environment is made once, in target/.
# Usage: scripts/golden/generate.sh [FOLDER]    PYTHON=... uses an environment that has the requirements already.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
root=$(cd "$here/../.." && pwd)
fixtures=${1:-$root/crates/engine/tests/fixtures}
python=${PYTHON:-}

if [[ -z $python ]]; then
  environment=$root/target/golden-python
  python=$environment/bin/python
  [[ -x $python ]] || python3 -m venv "$environment"
  "$python" -m pip install --quiet --requirement "$here/requirements.txt"
  "$python" -m pip install --quiet --no-deps --requirement "$here/requirements_bare.txt"
fi

PYTHONDONTWRITEBYTECODE=1 "$python" "$here/generate.py" "$fixtures"
