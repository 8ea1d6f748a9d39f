#!/usr/bin/env bash
# Brings the CUDA 13.0 compiler and the libraries to link against from PyPI into target/cuda, and prints the variables that a build
# with CUDA needs. No GPU, no driver and no root are needed:
#   eval "$(scripts/cuda_toolkit.sh)" && cargo build --release -p framewright-device-worker --features cuda
# CUDA_COMPUTE_CAP chooses the GPU generation (default 90: H100, H200; 89: RTX 40; 86: RTX 30; 80: A100).
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/environment.sh"

say() { printf 'cuda_toolkit: %s\n' "$*" >&2; }
fail() { say "$*"; exit 1; }

toolkit=$target/cuda
packages=(
    "nvidia-cuda-nvcc==13.0.*"
    "nvidia-nvvm==13.0.*"
    "nvidia-cuda-crt==13.0.*"
    "nvidia-cuda-runtime==13.0.*"
    "nvidia-cuda-cccl==13.0.*"
    "nvidia-cuda-nvrtc==13.0.*"
    "nvidia-cublas==13.0.*"
    "nvidia-curand==10.4.*"
)

install_toolkit() {
    local python=${PYTHON:-python3} wheel
    command -v "$python" >/dev/null || fail "python3 is needed; run scripts/setup.sh --test"
    command -v cc >/dev/null || fail "a C compiler is needed; run scripts/setup.sh"
    work=$(mktemp -d "$target/cuda.XXXXXX")
    # Not a local variable: the trap runs when this function is long over.
    trap 'rm -rf "$work"' EXIT
    if ! "$python" -m pip --version >/dev/null 2>&1; then
        "$python" -m venv "$work/venv"
        python=$work/venv/bin/python
    fi
    say "downloading ${#packages[@]} packages (about 1 GB)"
    "$python" -m pip download --quiet --disable-pip-version-check --no-deps --only-binary :all: --dest "$work/wheels" "${packages[@]}" >&2
    mkdir "$work/unpacked"
    for wheel in "$work"/wheels/*.whl; do
        "$python" -m zipfile --extract "$wheel" "$work/unpacked"
    done
    # The wheels share one tree: nvidia/cu13/{bin,include,lib,nvvm}.
    [ -f "$work/unpacked/nvidia/cu13/bin/nvcc" ] || fail "the packages do not hold nvidia/cu13/bin/nvcc; has their layout changed?"
    rm -rf "$toolkit"
    mv "$work/unpacked/nvidia/cu13" "$toolkit"
    # zipfile drops the executable bits.
    find "$toolkit/bin" "$toolkit/nvvm/bin" -type f -exec chmod +x {} +
    # Linkers look for lib64 and for names without a version.
    [ -e "$toolkit/lib64" ] || ln -s lib "$toolkit/lib64"
    local library name
    for library in "$toolkit"/lib/lib*.so.*; do
        name=${library%%.so.*}.so
        [ -e "$name" ] || ln -s "$(basename "$library")" "$name"
    done
    make_driver_stub
    touch "$toolkit/.complete"
}

# libcuda.so comes with the driver. To link where there is none, a library with the same name that exports the driver's functions is
# enough: the real one is found at run time by its name, libcuda.so.1.
make_driver_stub() {
    local stubs=$toolkit/lib/stubs
    mkdir -p "$stubs"
    # The version suffixes come from #define lines of cuda.h (cuMemAlloc is cuMemAlloc_v2).
    grep -ohE '\bcu[A-Z][A-Za-z0-9]*(_v[0-9]+|_ptsz|_ptds)*\b' "$toolkit/include/cuda.h" | sort -u |
        sed 's/.*/void &(void) {}/' >"$stubs/cuda_stub.c"
    cc -w -fno-builtin -shared -fPIC -Wl,-soname,libcuda.so.1 -o "$stubs/libcuda.so" "$stubs/cuda_stub.c"
    rm "$stubs/cuda_stub.c"
}

if [ ! -e "$toolkit/.complete" ]; then
    install_toolkit
    say "$("$toolkit/bin/nvcc" --version | tail -n 2 | head -n 1) in $toolkit"
fi

cat <<END
export CUDA_HOME=$toolkit
export CUDA_PATH=$toolkit
export CUDA_COMPUTE_CAP=${CUDA_COMPUTE_CAP:-90}
export PATH=$toolkit/bin:\$PATH
export LIBRARY_PATH=$toolkit/lib:$toolkit/lib/stubs\${LIBRARY_PATH:+:\$LIBRARY_PATH}
export LD_LIBRARY_PATH=$toolkit/lib\${LD_LIBRARY_PATH:+:\$LD_LIBRARY_PATH}
END
