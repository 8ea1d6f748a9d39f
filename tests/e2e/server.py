"""A framewright server under test, for the end-to-end tests."""

import json
import os
import signal
import socket
import subprocess
import time
import urllib.error
import urllib.request

START_SECONDS = 120
JOB_SECONDS = 600


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Server:
    """A framewright server of our own: its process, its data directory and its address."""

    def __init__(self, binary, directory, environment, config=None):
        """`config` is the text of a configuration file; without one every setting has its default."""
        self.binary = str(binary.resolve())
        self.directory = directory
        self.data = directory / "data"
        self.port = free_port()
        self.address = f"http://127.0.0.1:{self.port}"
        self.process = None
        kept = {name: os.environ[name] for name in ("PATH", "TMPDIR") if name in os.environ}
        self.environment = {**kept, "HOME": str(directory), **environment}
        self.config = None
        if config is not None:
            self.config = directory / "config" / "system.yaml"
            self.config.parent.mkdir()
            self.config.write_text(config)

    def command(self, *arguments):
        config = [] if self.config is None else ["--config", str(self.config)]
        return [self.binary, *arguments, *config, "--data-dir", str(self.data)]

    def start(self):
        with open(self.directory / "server.log", "ab") as log:
            self.process = subprocess.Popen(
                self.command("serve", "--listen", f"127.0.0.1:{self.port}"),
                cwd=self.directory, env=self.environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
            )
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline:
            assert self.process.poll() is None, f"the server ended with {self.process.returncode}"
            try:
                with urllib.request.urlopen(f"{self.address}/api/v1/health", timeout=5) as answer:
                    assert json.load(answer)["status"] == "ok"
                    return
            except (urllib.error.URLError, ConnectionError, TimeoutError):
                time.sleep(0.1)
        raise AssertionError(f"the server was not healthy within {START_SECONDS} s")

    def run(self, *arguments):
        done = subprocess.run(
            self.command(*arguments), cwd=self.directory, env=self.environment, stdin=subprocess.DEVNULL,
            capture_output=True, text=True, timeout=JOB_SECONDS, check=False,
        )
        assert done.returncode == 0, f"{arguments}: status {done.returncode}: {done.stderr}"
        return done.stdout

    def kill(self):
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()

    def stop(self):
        if self.process and self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(timeout=90)
            except subprocess.TimeoutExpired:
                self.kill()
                raise AssertionError("the server did not stop within 90 s of SIGTERM") from None
        return self.process.returncode if self.process else None

    def end_of_log(self):
        log = self.directory / "server.log"
        return "".join(log.read_text(errors="replace").splitlines(keepends=True)[-40:]) if log.exists() else ""

    def call(self, method, path, key, body=None):
        request = urllib.request.Request(self.address + path, method=method)
        request.add_header("Authorization", f"Bearer {key}")
        if body is not None:
            request.add_header("Content-Type", "application/json")
            request.data = json.dumps(body).encode()
        with urllib.request.urlopen(request, timeout=60) as answer:
            return json.load(answer)

    def wait_for(self, task, key, ready, what):
        deadline = time.monotonic() + JOB_SECONDS
        while time.monotonic() < deadline:
            document = self.call("GET", f"/api/v1/tasks/{task}", key)
            if ready(document):
                return document
            time.sleep(0.05)
        raise AssertionError(f"not {what} within {JOB_SECONDS} s: {document}")
