#!/usr/bin/env bash
# Runs the engine's tests (goldens included) and its benchmarks, built with CUDA, and writes what it saw to
# docs/benchmarks/gpu-<name>-<date>.md.
#   scripts/gpu_check.sh                   on a machine with a GPU and Rust: builds, then runs
#   scripts/gpu_check.sh --build DIR       builds only, into DIR (no GPU needed)
#   scripts/gpu_check.sh --prebuilt DIR    runs what --build put into DIR (no Rust needed)
# The tests look for their fixtures where the sources were when they were built: run them from the same path.
set -uo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/environment.sh"
cd "$root"

say() { printf 'gpu_check: %s\n' "$*" >&2; }
fail() { say "$*"; exit 1; }

mode=both
binaries=$target/gpu-check
case ${1:-} in
    '') ;;
    --build | --prebuilt)
        [ $# -eq 2 ] || fail "$1 needs a directory"
        mode=${1#--}
        binaries=$2 ;;
    *) fail "unknown argument $1; see the head of this file" ;;
esac

build() {
    local exports kind name executable listing
    exports=$("$root/scripts/cuda_toolkit.sh") || fail "no CUDA toolkit"
    eval "$exports"
    mkdir -p "$binaries/lib"
    rm -f "$binaries"/test-* "$binaries"/bench-*
    listing=$(mktemp)
    for kind in test bench; do
        cargo "$kind" --locked --package framewright-engine --features cuda --no-run --message-format json \
            $([ "$kind" = test ] && printf -- --release) >"$listing" || fail "the build failed"
        jq --raw-output 'select(.reason == "compiler-artifact" and .executable != null and .profile.test) | "\(.target.name) \(.executable)"' \
            <"$listing" | while read -r name executable; do
            # `cargo bench` also builds the library's unit tests; once is enough.
            [ "$kind" = bench ] && [ -e "$binaries/test-$name" ] && continue
            cp "$executable" "$binaries/$kind-$name"
        done
    done
    rm -f "$listing"
    # The program that runs GPUs for a server: the check is that it links.
    cargo build --locked --release --package framewright-device-worker --features cuda || fail "the worker's build failed"
    cp "$target/release/framewright-device-worker" "$binaries/"
    cp -L "$target"/cuda/lib/lib{cudart,cublas,cublasLt,curand,nvrtc,nvrtc-builtins}.so.* "$binaries/lib/"
    say "built: $(cd "$binaries" && printf '%s ' test-* bench-*)"
}

# The networks at full size on the GPU, one JSON line each.
networks() {
    local component precision status=0
    for component in unet vae; do
        for precision in f32 bf16 f16; do
            # The published VAE overflows in f16.
            [ "$component $precision" = "vae f16" ] && continue
            "$1" --device cuda:0 --component "$component" --precision "$precision" --size 1024 --repeats 5 || status=1
        done
    done
    return $status
}

run() {
    local gpu name report executable status=0 started
    command -v nvidia-smi >/dev/null || fail "there is no nvidia-smi here, so no GPU to check"
    gpu=$(nvidia-smi --query-gpu=name --format=csv,noheader | head -n 1) || fail "nvidia-smi fails"
    name=$(printf '%s' "$gpu" | tr '[:upper:] ' '[:lower:]-' | tr -cd 'a-z0-9-')
    report=${OUT:-docs/benchmarks}/gpu-$name-$(date -u +%Y-%m-%d).md
    mkdir -p "$(dirname "$report")"
    export LD_LIBRARY_PATH=$(cd "$binaries/lib" 2>/dev/null && pwd):$target/cuda/lib:${LD_LIBRARY_PATH:-}
    {
        printf '# GPU check: %s\n\n' "$gpu"
        printf -- '- date: %s\n' "$(date -u +%Y-%m-%dT%H:%MZ)"
        printf -- '- driver: %s\n' "$(nvidia-smi --query-gpu=driver_version,memory.total --format=csv,noheader | head -n 1)"
        printf -- '- processor: %s, %s threads\n' "$(sed -n 's/^model name[^:]*: //p' /proc/cpuinfo | head -n 1)" "$(nproc)"
        for executable in "$binaries"/test-* "$binaries"/bench-*; do
            [ -x "$executable" ] || continue
            started=$SECONDS
            printf '\n## %s\n\n```\n' "$(basename "$executable")"
            case $(basename "$executable") in
                test-*) (cd crates/engine && "$executable" --test-threads 1 2>&1) ;;
                bench-sdxl) networks "$executable" 2>&1 ;;
                bench-*) (cd crates/engine && "$executable" --bench 2>&1) ;;
            esac
            # shellcheck disable=SC2181
            result=$?
            printf '```\n\nexit status %d after %d s\n' "$result" $((SECONDS - started))
            [ "$result" -eq 0 ] || status=1
        done
    } >"$report"
    say "wrote $report"
    grep -E '^(## |exit status|test result)' "$report" >&2
    return $status
}

case $mode in
    build) build ;;
    prebuilt) binaries=$(cd "$binaries" && pwd) && run ;;
    both) build && run ;;
esac
