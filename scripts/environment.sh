# Read by the other scripts: where things are. Copes with an empty HOME and CARGO_HOME.

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)

# A relative target directory is meant from where the script was called.
target=${CARGO_TARGET_DIR:-$root/target}
case $target in
    /*) ;;
    *) target=$PWD/$target ;;
esac
export CARGO_TARGET_DIR=$target
mkdir -p "$target"

# Variables that are set to nothing mean "not set"; cargo and rustup take them literally.
for name in CARGO_HOME RUSTUP_HOME; do
    [ -n "${!name:-}" ] || unset "$name"
done
if [ -z "${HOME:-}" ]; then
    export HOME=$target/home
    mkdir -p "$HOME"
fi

# rustup puts cargo here; a shell that was open before the installation does not know yet.
if ! command -v cargo >/dev/null 2>&1; then
    for directory in "${CARGO_HOME:-$HOME/.cargo}/bin" "$HOME/.cargo/bin"; do
        if [ -x "$directory/cargo" ]; then
            PATH=$directory:$PATH
        fi
    done
    # With an empty CARGO_HOME there may still be a toolchain.
    for directory in "${RUSTUP_HOME:-$HOME/.rustup}"/toolchains/"$(sed -n 's/^channel = "\(.*\)"/\1/p' "$root/rust-toolchain.toml")"-*/bin; do
        if ! command -v cargo >/dev/null 2>&1 && [ -x "$directory/cargo" ]; then
            PATH=$directory:$PATH
        fi
    done
fi
