"""What the server says of itself against what it does: its OpenAPI document is valid, and no request finds a fault or an undescribed answer.

    python tests/e2e/test_schemathesis.py path/to/framewright [--max-examples 20] [--seed 1] [--phases coverage,fuzzing]

Starts the binary with devices that compute nothing, validates the document, and has schemathesis send requests made of it, right ones and
wrong ones, with an administrator's key. Every answer below 500 must have a status, a type and a body that the document has for the route.
The same seed asks the same again.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path

from openapi_spec_validator import validate

from server import Server

KEY = "an-administrators-key-for-tests"
CONFIG = """\
gpu_pool:
  devices: [fake, fake]
  fake: { step_ms: 0 }
"""
CHECKS = "not_a_server_error,status_code_conformance,content_type_conformance,response_schema_conformance"
LEAST_CASES = 2_000


def valid_document(server):
    with urllib.request.urlopen(f"{server.address}/docs/openapi.json", timeout=60) as answer:
        document = json.load(answer)
    validate(document)
    operations = sum(len(item) for item in document["paths"].values())
    print(f"the OpenAPI document is valid: {operations} operations", flush=True)


def command(server, arguments, report):
    return [
        str(Path(sys.executable).parent / "schemathesis"), "run", f"{server.address}/docs/openapi.json",
        "--header", f"Authorization: Bearer {KEY}", "--checks", CHECKS, "--phases", arguments.phases,
        "--max-examples", str(arguments.max_examples), "--seed", str(arguments.seed), "--generation-database", "none",
        "--request-timeout", "60", "--workers", "2", "--continue-on-failure", "--no-shrink", "--warnings", "off", "--no-color",
        "--suppress-health-check", "all", "--report", "json", "--report-json-path", str(report),
    ]


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("binary", type=Path)
    parser.add_argument("--max-examples", type=int, default=20)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--phases", default="coverage,fuzzing")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="framewright-e2e-") as directory:
        server = Server(arguments.binary, Path(directory), {"API_KEY": KEY}, CONFIG)
        try:
            server.start()
            valid_document(server)
            started, report = time.monotonic(), Path(directory) / "report.json"
            done = subprocess.run(command(server, arguments, report), cwd=directory, check=False)
            assert done.returncode == 0, f"schemathesis ended with status {done.returncode}"
            outcome = json.loads(report.read_text())
            cases, operations = outcome["test_cases"], outcome["operations"]
            print(f"{cases['generated']} cases in {time.monotonic() - started:.0f} s", flush=True)
            assert operations["tested"] == operations["total"], operations
            assert cases["generated"] >= LEAST_CASES and cases["errored"] == 0, cases
            assert server.stop() == 0, "SIGTERM ends the server with status 0"
            log = (server.directory / "server.log").read_text(errors="replace")
            assert "panicked" not in log, "the server's log has a panic"
            assert KEY not in log, "the server's log has the key"
        except BaseException:
            sys.stderr.write(server.end_of_log())
            raise
        finally:
            if server.process and server.process.poll() is None:
                server.kill()


if __name__ == "__main__":
    main()
