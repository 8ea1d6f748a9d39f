#!/bin/sh
# Trains the demo model at the lowest priority, e.g.: scripts/demo_models/train.sh --all
set -eu
cd "$(dirname "$0")/../.."

# Tensors of a few MB come and go at every layer. Without these, the C library returns
# each to the kernel at once, and most of the time goes into mapping fresh pages.
export MALLOC_MMAP_THRESHOLD_=4000000000
export MALLOC_TRIM_THRESHOLD_=16000000000
export MALLOC_TOP_PAD_=268435456
# Threads that spin at a barrier would take the processor from whatever else runs.
export OMP_WAIT_POLICY=PASSIVE

exec nice -n "${NICENESS:-19}" "${PYTHON:-python3}" -m scripts.demo_models.train "$@"
