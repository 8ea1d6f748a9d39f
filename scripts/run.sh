#!/usr/bin/env bash
# Builds framewright, starts it on loopback with SQLite and the bundled demo models, makes one picture and one film of two scenes
# through the HTTP API, and serves until Ctrl-C.
#   scripts/run.sh [--once] [--port PORT] [--data-dir DIR] [--prompt TEXT]
#   --once       stop after the picture and the film
#   --port       port on 127.0.0.1 (default 8000)
#   --data-dir   where the database, the pictures and the films go (default: data, in the repository)
#   --prompt     what the picture and the film's first scene show
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/environment.sh"

say() { printf 'run: %s\n' "$*" >&2; }
fail() { say "$*"; exit 1; }
usage() { sed -n '2,/^set /{/^#/s/^# \{0,1\}//p}' "${BASH_SOURCE[0]}"; }

once=false
port=8000
data=$root/data
prompt="a large red circle on a blue background"
while [ $# -gt 0 ]; do
    case $1 in
        --once) once=true; shift ;;
        --port | --data-dir | --prompt)
            [ $# -ge 2 ] || fail "$1 needs a value"
            case $1 in
                --port) port=$2 ;;
                --data-dir) data=$2 ;;
                --prompt) prompt=$2 ;;
            esac
            shift 2 ;;
        -h | --help) usage; exit 0 ;;
        *) fail "unknown argument $1; see --help" ;;
    esac
done
case $port in
    '' | *[!0-9]*) fail "--port: '$port' is not a number" ;;
esac
mkdir -p "$data"
data=$(cd "$data" && pwd)
address=127.0.0.1:$port

# Before the build, which takes minutes the first time.
if (exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null; then
    fail "port $port is in use; stop what uses it, or run: scripts/run.sh --port $((port + 1))"
fi

"$root/scripts/setup.sh"
say "building (several minutes the first time)"
(cd "$root" && cargo build --release --locked --bin framewright </dev/null)
framewright=$target/release/framewright

server=
stop_server() {
    [ -n "$server" ] || return 0
    kill -TERM "$server" 2>/dev/null || true
    wait "$server" 2>/dev/null || true
    server=
}
trap stop_server EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

log=$data/server.log
common=(--config "$root/configs/local.yaml" --data-dir "$data")
say "starting the server; its log is $log"
"$framewright" serve "${common[@]}" --listen "$address" </dev/null 2>>"$log" &
server=$!

healthy=false
for _ in $(seq 240); do
    kill -0 "$server" 2>/dev/null || break
    if curl --silent --fail --noproxy '*' --max-time 2 "http://$address/api/v1/health" >/dev/null 2>&1; then
        healthy=true
        break
    fi
    sleep 0.25
done
if ! $healthy; then
    tail -n 20 "$log" >&2 || true
    fail "the server did not become healthy; see $log"
fi

# A key for this run alone.
key=$("$framewright" keys create --user run-script "${common[@]}" </dev/null)
call() { # call PATH [JSON]
    curl --silent --show-error --fail-with-body --noproxy '*' --max-time 30 -H "Authorization: Bearer $key" \
        ${2:+-H "Content-Type: application/json" --data "$2"} "http://$address$1"
}

make() { # make PATH JSON SECONDS: the finished task
    local answer task status=queued
    answer=$(call "$1" "$2") || fail "the server refused: $answer"
    task=$(jq --raw-output .task_id <<<"$answer")
    for _ in $(seq $(($3 * 4))); do
        answer=$(call "/api/v1/tasks/$task") || fail "the task cannot be read: $answer"
        status=$(jq --raw-output .status <<<"$answer")
        case $status in
            queued | running) sleep 0.25 ;;
            *) break ;;
        esac
    done
    [ "$status" = completed ] || fail "the task is $status: $(jq --compact-output .error <<<"$answer")"
    printf '%s' "$answer"
}
file_of() { # file_of TASK: its first file
    local file
    file=$data/outputs/$(jq --raw-output '.result.outputs[0].local_path' <<<"$1")
    [ -s "$file" ] || fail "the server says $file, and it is not there"
    printf '%s' "$file"
}

say "making a picture of: $prompt"
request=$(jq --null-input --arg prompt "$prompt" '{model: "demo-sdxl", prompt: $prompt, seed: 7}')
picture_task=$(make /api/v1/images/generate "$request" 300)
picture=$(file_of "$picture_task")

second="a small green star on a yellow background"
say "making a film of two scenes: $prompt; $second"
request=$(jq --null-input --arg prompt "$prompt" --arg second "$second" '{
    model: "demo-svd",
    seed: 7,
    scenes: [
        {id: "first", prompt: $prompt, duration: 2, transition: {type: "crossfade", duration: 0.5}},
        {id: "second", prompt: $second, duration: 2}
    ],
    video_config: {fps: 24, width: 256, height: 256}
}')
film_task=$(make /api/v1/videos/generate "$request" 900)
film=$(file_of "$film_task")
id=$("$framewright" keys list "${common[@]}" </dev/null | awk -v key="$key" '{ start = $2; sub(/…$/, "", start); if (index(key, start) == 1) print $1 }')
[ -z "$id" ] || "$framewright" keys revoke "$id" "${common[@]}" </dev/null

url_of() { jq --raw-output '.result.outputs[0].url' <<<"$1"; }
printf 'picture: %s\nlink: %s\n' "$picture" "$(url_of "$picture_task")"
printf 'film: %s\nlink: %s\n' "$film" "$(url_of "$film_task")"
printf 'url: http://%s/docs\n' "$address"
$once && exit 0

say "serving; Ctrl-C stops. A key of your own: $framewright keys create --user me --data-dir $data"
wait "$server"
