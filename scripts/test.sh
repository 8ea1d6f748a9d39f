#!/usr/bin/env bash
# Every check that CI runs, with the time each one takes. Stops at the first that fails.
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/environment.sh"
cd "$root"
scripts/setup.sh --test

timings=()
stage() { # stage NAME COMMAND...
    local name=$1 started=$SECONDS
    shift
    printf '\n== %s\n' "$name"
    if ! "$@" </dev/null; then
        printf '\n== %s FAILED after %d s\n' "$name" $((SECONDS - started))
        exit 1
    fi
    timings+=("$(printf '%6d s  %s' $((SECONDS - started)) "$name")")
}

dependencies() {
    if command -v cargo-deny >/dev/null 2>&1; then
        cargo deny --all-features check
    else
        printf 'SKIPPED: cargo-deny is not installed (cargo install cargo-deny --locked)\n'
    fi
}

python_environment() {
    local environment=$target/e2e-venv
    if ! cmp -s tests/e2e/requirements.txt "$environment/installed.txt"; then
        python3 -m venv --clear "$environment"
        "$environment/bin/pip" install --quiet --disable-pip-version-check --requirement tests/e2e/requirements.txt
        cp tests/e2e/requirements.txt "$environment/installed.txt"
    fi
}

end_to_end() { # end_to_end SCRIPT
    python_environment
    "$target/e2e-venv/bin/python" "tests/e2e/$1" "$target/debug/framewright"
}

dashboard() {
    python3 tests/e2e/test_prometheus.py "$target/debug/framewright"
}

stage "format" cargo fmt --all --check
stage "clippy" cargo clippy --locked --workspace --all-targets -- -D warnings
stage "tests, with SQLite and PostgreSQL" scripts/postgres.sh run cargo test --locked --workspace
# Kills the PostgreSQL that it runs on, and so has one to itself.
stage "a killed PostgreSQL" scripts/postgres.sh run cargo test --locked --package framewright --lib a_killed_server -- --ignored
stage "documentation" env RUSTDOCFLAGS="-D warnings" cargo doc --locked --workspace --no-deps
stage "dependencies" dependencies
stage "the server, built" cargo build --locked --bin framewright
stage "end to end, with the openai package" end_to_end test_openai_client.py
stage "end to end, with a client of A1111's" end_to_end test_a1111_client.py
stage "end to end, with Prometheus and the dashboard" dashboard

printf '\nall passed in %d s:\n' "$SECONDS"
printf '%s\n' "${timings[@]}"
