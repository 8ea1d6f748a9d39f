"""A real Prometheus against a running server: every query of the dashboard must find data.

    python3 tests/e2e/test_prometheus.py path/to/framewright

Starts the binary with fake devices and Prometheus (Debian package `prometheus`) beside it on a free port, and a provider of pictures that
also takes callbacks; makes the server complete, fail, refuse, pass on and lose work for a while, and then sends every query of
configs/grafana/framewright.json to Prometheus.
"""

import argparse
import itertools
import json
import re
import shutil
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.parse
import urllib.request
from pathlib import Path

from provider import GOOD_KEY, Provider
from server import Server, free_port

ROOT = Path(__file__).resolve().parents[2]
DASHBOARD = ROOT / "configs" / "grafana" / "framewright.json"
EXAMPLE = ROOT / "configs" / "prometheus.yml"
# Looks at the server every second, so a rate needs few of them.
RATE_INTERVAL = "10s"
LOAD_SECONDS = 15
READY_SECONDS = 60

# Queries that may find nothing here, by a part of them, each with its reason.
EXCEPTIONS = {
    "framewright_device_utilization_ratio": "fake devices have no utilisation; only NVML reports it",
}

# The provider and the receiver of callbacks are on this machine.
SYSTEM = """\
gpu_pool: {devices: [fake, fake], stall_seconds: 5, fake: {step_ms: 5, load_ms: 50, memory_gb: 8}}
egress: {allow: [127.0.0.1/32]}
"""
# A painter with a good key and one that it refuses, the same with the refused key alone, and a provider that nobody can reach.
PROVIDERS = """\
providers:
  painter:
    kind: openai
    base_url: %(painter)s/v1
    keys: [{id: good, key: %(key)s, max_concurrent: 8}, {id: refused, key: sk-refused, max_concurrent: 8}]
    models: [{id: painter-1, model: pictures-1, kinds: [text_to_image], response_format: url}]
    prices: [{per_picture: 0.04}]
  unpaid:
    kind: openai
    base_url: %(painter)s/v1
    keys: [{id: refused, key: sk-refused}]
    models: [{id: unpaid-1, model: pictures-1, kinds: [text_to_image]}]
  away:
    kind: openai
    base_url: http://127.0.0.1:%(closed_port)s/v1
    keys: [{id: main, key: sk-away}]
    models: [{id: away-1, model: pictures-1, kinds: [text_to_image]}]
"""
ROUTES = "routes: {any-painter: {targets: [{provider: unpaid, model: unpaid-1}, {provider: painter, model: painter-1}]}}\n"
# What the provider is asked for in turns, by model and prompt.
REMOTE = [("painter-1", "a lake"), ("painter-1", "refused"), ("painter-1", "lost"), ("any-painter", "a hill")]
USERS = {"anna": "{}\n", "boris": "quotas: {images_per_day: 3}\n"}


def expressions(node):
    """Every `expr` of a dashboard, in its order."""
    if isinstance(node, dict):
        if isinstance(node.get("expr"), str):
            yield node["expr"]
        for value in node.values():
            yield from expressions(value)
    elif isinstance(node, list):
        for value in node:
            yield from expressions(value)


def filled_in(expression):
    """An expression as Grafana would send it: intervals of its own, and every other variable on "All"."""
    for interval in ("__rate_interval", "__interval", "__range"):
        expression = re.sub(rf"\${interval}\b|\$\{{{interval}(:\w+)?\}}", RATE_INTERVAL, expression)
    return re.sub(r"\$\w+|\$\{\w+(:\w+)?\}", ".*", expression)


class Prometheus:
    """A Prometheus that looks at one server and keeps what it saw in a directory of its own."""

    def __init__(self, directory, target):
        self.directory = directory
        self.address = f"127.0.0.1:{free_port()}"
        config = directory / "prometheus.yml"
        job = {"job_name": "framewright", "static_configs": [{"targets": [target]}]}
        # JSON is YAML.
        config.write_text(json.dumps({"global": {"scrape_interval": "1s", "scrape_timeout": "1s"}, "scrape_configs": [job]}))
        with open(directory / "prometheus.log", "ab") as log:
            self.process = subprocess.Popen(
                [
                    "prometheus", f"--config.file={config}", f"--storage.tsdb.path={directory / 'tsdb'}",
                    f"--web.listen-address={self.address}", "--log.level=warn",
                ],
                cwd=directory, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
            )

    def get(self, path, **parameters):
        url = f"http://{self.address}{path}?{urllib.parse.urlencode(parameters)}"
        with urllib.request.urlopen(url, timeout=30) as answer:
            return json.load(answer)

    def wait_until_ready(self):
        deadline = time.monotonic() + READY_SECONDS
        while time.monotonic() < deadline:
            assert self.process.poll() is None, f"Prometheus ended with {self.process.returncode}"
            try:
                targets = self.get("/api/v1/targets")["data"]["activeTargets"]
                if targets and all(target["health"] == "up" for target in targets):
                    return
                time.sleep(0.2)
            except (urllib.error.URLError, ConnectionError, TimeoutError):
                time.sleep(0.2)
        raise AssertionError(f"Prometheus does not see the server: {targets}")

    def query(self, expression):
        try:
            answer = self.get("/api/v1/query", query=expression)
        except urllib.error.HTTPError as error:
            raise AssertionError(f"{expression}: {error.read().decode(errors='replace')}") from None
        return [sample["value"][1] for sample in answer["data"]["result"]]

    def stop(self):
        self.process.terminate()
        try:
            self.process.wait(timeout=30)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


def submit(server, key, prompt, **fields):
    """Submits a small picture; gives the HTTP status."""
    return send(server, key, {"prompt": prompt, "width": 64, "height": 64, "num_inference_steps": 5, **fields})


def send(server, key, body):
    try:
        server.call("POST", "/api/v1/images/generate", key, body)
        return 202
    except urllib.error.HTTPError as error:
        return error.code


def make_work(server, provider):
    """Jobs that complete, fail, kill their worker, are refused and passed on, so that every series has something to count."""
    keys = {user: server.run("keys", "create", "--user", user).strip() for user in USERS}
    assert [submit(server, keys["boris"], "quota") for _ in range(5)] == [202, 202, 202, 429, 429]
    assert submit(server, keys["anna"], "refused", width=7) == 422
    submit(server, keys["anna"], "fake:crash_at=2")
    submit(server, keys["anna"], "fake:fail_at=2")
    submit(server, keys["anna"], "fake:hang_at=2", priority=-5)
    assert send(server, keys["anna"], {"model": "away-1", "prompt": "a sea"}) == 202
    deadline = time.monotonic() + LOAD_SECONDS
    for number in itertools.count():
        if time.monotonic() > deadline:
            return number
        callback = {"callback_url": f"{provider.address}/callback"} if number % 3 == 0 else {}
        assert submit(server, keys["anna"], f"picture {number}", priority=number % 3, **callback) == 202
        model, prompt = REMOTE[number % len(REMOTE)]
        assert send(server, keys["anna"], {"model": model, "prompt": prompt}) == 202
        time.sleep(0.1)


def check_names(server):
    """What Prometheus' own tool thinks of the names, the units and the texts of the metrics."""
    if not shutil.which("promtool"):
        return
    with urllib.request.urlopen(f"{server.address}/metrics", timeout=30) as answer:
        text = answer.read()
    done = subprocess.run(["promtool", "check", "metrics"], input=text, capture_output=True, check=False)
    assert done.returncode == 0, (done.stdout + done.stderr).decode()


def check_queries(prometheus):
    """Gives how many queries found data; raises with those that found none."""
    queries = [filled_in(expression) for expression in expressions(json.loads(DASHBOARD.read_text()))]
    assert len(queries) >= 10, "a dashboard with hardly any queries"
    empty, excused = [], []
    for query in queries:
        values = prometheus.query(query)
        reason = next((reason for part, reason in EXCEPTIONS.items() if part in query), None)
        if any(value != "NaN" for value in values):
            continue
        if reason is None:
            empty.append(f"{query} gives {values}")
        else:
            excused.append(f"no data: {query}: {reason}")
    print("\n".join(excused))
    assert not empty, "queries of the dashboard without data:\n  " + "\n  ".join(empty)
    return len(queries) - len(excused)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("binary", type=Path)
    arguments = parser.parse_args()
    assert shutil.which("prometheus"), "Prometheus is not installed; scripts/setup.sh --test does that"
    if shutil.which("promtool"):
        subprocess.run(["promtool", "check", "config", str(EXAMPLE)], check=True, stdout=subprocess.DEVNULL)
    with tempfile.TemporaryDirectory(prefix="framewright-prometheus-") as directory:
        directory = Path(directory)
        server = Server(arguments.binary, directory, {}, SYSTEM)
        (directory / "config" / "users").mkdir()
        for user, text in USERS.items():
            (directory / "config" / "users" / f"{user}.yaml").write_text(text)
        provider, prometheus = Provider(), None
        addresses = {"painter": provider.address, "key": GOOD_KEY, "closed_port": free_port()}
        (directory / "config" / "providers.yaml").write_text(PROVIDERS % addresses)
        (directory / "config" / "routes.yaml").write_text(ROUTES)
        try:
            server.start()
            prometheus = Prometheus(directory, f"127.0.0.1:{server.port}")
            prometheus.wait_until_ready()
            submitted = make_work(server, provider)
            found = check_queries(prometheus)
            check_names(server)
            assert server.stop() == 0, "SIGTERM ends the server with status 0"
        except BaseException:
            sys.stderr.write(server.end_of_log())
            raise
        finally:
            provider.stop()
            if prometheus is not None:
                prometheus.stop()
            if server.process and server.process.poll() is None:
                server.kill()
    print(f"{found} queries of the dashboard found data, after {submitted} jobs")


if __name__ == "__main__":
    main()
