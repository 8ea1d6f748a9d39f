"""The flow of MiniMax's own guide, over plain HTTP, against a running server.

    python3 tests/e2e/test_minimax_flow.py path/to/framewright [--device cpu|fake]

Create a film, query it, retrieve its file, download it, be called back; and the same flow as unified tasks. Needs nothing but Python.
The first failure ends the run with its traceback and the end of the server's log; the exit status is 0 only when all passed.
"""

import argparse
import base64
import http.server
import json
import queue
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.request
from pathlib import Path

from pictures import png
from server import JOB_SECONDS, Server

MODEL = "demo-svd"
# The receiver of callbacks is on this machine.
CONFIG = "egress: { allow: [127.0.0.1/32] }\n"


def call(server, method, path, key=None, body=None, headers=None):
    """Status, headers and parsed body; errors are answers too."""
    request = urllib.request.Request(server.address + path, method=method, headers=dict(headers or {}))
    if key is not None:
        request.add_header("Authorization", f"Bearer {key}")
    if body is not None:
        request.add_header("Content-Type", "application/json")
        request.data = json.dumps(body).encode()
    try:
        with urllib.request.urlopen(request, timeout=JOB_SECONDS) as answer:
            return answer.status, answer.headers, json.load(answer)
    except urllib.error.HTTPError as error:
        return error.code, error.headers, json.load(error)


def picture(side):
    """A PNG as a data URL."""
    return "data:image/png;base64," + base64.b64encode(png(side)).decode()


def invoke_video_generation(server, key, **fields):
    """`POST /v1/video_generation`, as in the guide."""
    status, headers, answer = call(server, "POST", "/v1/video_generation?GroupId=17", key, {"model": MODEL, **fields})
    assert status == 200 and answer["base_resp"]["status_code"] == 0, answer
    return answer["task_id"], headers


def query_video_generation(server, key, task_id):
    """`GET /v1/query/video_generation`, as in the guide: the file's identifier, once it is there."""
    status, _, answer = call(server, "GET", f"/v1/query/video_generation?task_id={task_id}", key)
    assert status == 200 and answer["task_id"] == task_id, answer
    word = answer["status"]
    assert word in ("Preparing", "Queueing", "Processing", "Success"), answer
    return answer if word == "Success" else None


def wait_for_film(server, key, task_id):
    deadline = time.monotonic() + JOB_SECONDS
    while time.monotonic() < deadline:
        if film := query_video_generation(server, key, task_id):
            return film
        time.sleep(0.2)
    raise AssertionError(f"no film within {JOB_SECONDS} s")


def fetch_video_result(server, key, film):
    """`GET /v1/files/retrieve`, as in the guide, and the download, without a key."""
    status, _, answer = call(server, "GET", f"/v1/files/retrieve?file_id={film['file_id']}", key)
    assert status == 200 and answer["base_resp"]["status_code"] == 0, answer
    file = answer["file"]
    assert file["file_id"] == int(film["file_id"]) and file["purpose"] == "video_generation", file
    with urllib.request.urlopen(file["download_url"], timeout=60) as download:
        data = download.read()
    assert len(data) == file["bytes"] and data[4:8] == b"ftyp", "not the film"
    return data


def check_text_to_video(server, key):
    task_id, headers = invoke_video_generation(
        server, key, prompt="a large red circle on a blue background [Push in]", duration=1, prompt_optimizer=True
    )
    assert headers["X-Ignored-Parameters"] == "prompt_optimizer, GroupId", headers
    film = wait_for_film(server, key, task_id)
    assert film["video_width"] > 0 and film["video_height"] > 0, film
    fetch_video_result(server, key, film)


def check_image_to_video(server, key):
    task_id, _ = invoke_video_generation(server, key, first_frame_image=picture(64), duration=1)
    fetch_video_result(server, key, wait_for_film(server, key, task_id))


def check_errors_have_codes(server, key):
    def code(key, body):
        status, _, answer = call(server, "POST", "/v1/video_generation", key, body)
        assert status == 200, (status, answer)
        return answer["base_resp"]["status_code"]

    assert code(None, {"model": MODEL, "prompt": "x"}) == 1004
    assert code("sk-wrong", {"model": MODEL, "prompt": "x"}) == 2049
    assert code(key, {"model": MODEL, "prompt": "x" * 2001}) == 2013
    assert code(key, {"model": MODEL, "prompt": "x", "resolution": "8K"}) == 2013
    assert code(key, {"model": "none", "prompt": "x"}) == 2013


def check_unified_tasks(server, key):
    parameters = {"prompt": "a small green star", "size": "64*64", "duration": "1", "seed": 7}
    body = {"model": MODEL, "provider": "local", "parameters": parameters, "is_async": True}
    status, _, answer = call(server, "POST", "/api/v1/tasks/", key, body)
    assert status == 200 and answer["success"], answer
    task_id = answer["results"]["task_id"]
    deadline = time.monotonic() + JOB_SECONDS
    while (state := call(server, "GET", f"/api/v1/tasks/{task_id}/status", key)[2]["results"]["status"]) != "completed":
        assert state in ("pending", "running") and time.monotonic() < deadline, state
        time.sleep(0.2)
    result = call(server, "GET", f"/api/v1/tasks/{task_id}/result", key)[2]["results"]["result"]
    (film,) = result["videos"]
    assert result["resolution"] == "64x64" and film["duration"] == 1, result
    kept = (server.data / "outputs" / film["local_path"]).read_bytes()
    with urllib.request.urlopen(film["url"], timeout=60) as download:
        assert download.read() == kept
    _, _, answer = call(
        server, "POST", "/api/v1/tasks", key, {"model": "demo-sdxl", "parameters": {"prompt": "a star", "seed": 1}, "is_async": False}
    )
    assert answer["results"]["status"] == "completed" and len(answer["results"]["result"]["images"]) == 1, answer


class Receiver:
    """What a client of MiniMax's puts behind its `callback_url`: it gives challenges back, and keeps what it is told."""

    def __init__(self):
        told = self.told = queue.Queue()

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self):
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                told.put(body)
                answer = json.dumps({"challenge": body["challenge"]} if "challenge" in body else {"status": "success"}).encode()
                self.send_response(200)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(answer)))
                self.end_headers()
                self.wfile.write(answer)

            def log_message(self, *_):
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        self.url = f"http://127.0.0.1:{self.server.server_port}/get_status"

    def next(self):
        return self.told.get(timeout=JOB_SECONDS)


def check_callbacks(server, key):
    receiver = Receiver()
    task_id, _ = invoke_video_generation(server, key, prompt="a green star", duration=1, callback_url=receiver.url)
    assert receiver.next()["challenge"]
    words = []
    while (update := receiver.next())["status"] != "Success":
        assert update["task_id"] == task_id and update["base_resp"]["status_code"] == 0, update
        words.append(update["status"])
    assert set(words) <= {"Processing"}, words
    film = wait_for_film(server, key, task_id)
    assert update["file_id"] == film["file_id"], (update, film)
    fetch_video_result(server, key, update)
    receiver.server.shutdown()


CHECKS = [check_text_to_video, check_image_to_video, check_errors_have_codes, check_callbacks, check_unified_tasks]


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("binary", type=Path)
    parser.add_argument("--device", default="cpu")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="framewright-e2e-") as directory:
        server = Server(arguments.binary, Path(directory), {"FRAMEWRIGHT_DEVICE": arguments.device}, CONFIG)
        try:
            server.start()
            key = server.run("keys", "create", "--user", "e2e").strip()
            for check in CHECKS:
                started = time.monotonic()
                check(server, key)
                print(f"ok  {time.monotonic() - started:6.1f} s  {check.__name__}", flush=True)
            assert server.stop() == 0, "SIGTERM ends the server with status 0"
            log = (server.directory / "server.log").read_text(errors="replace")
            assert "panicked" not in log, "the server's log has a panic"
        except BaseException:
            sys.stderr.write(server.end_of_log())
            raise
        finally:
            if server.process and server.process.poll() is None:
                server.kill()
    print(f"all {len(CHECKS)} checks passed")


if __name__ == "__main__":
    main()
