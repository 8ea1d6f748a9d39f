"""The unmodified `openai` package of Node against a running server.

    python tests/e2e/test_openai_node.py path/to/framewright path/to/node path/to/client.mjs [--device cpu|fake]

Starts the binary with an empty data directory on a free port, makes a key with the command line, and has Node run the client, beside
which the package lies in `node_modules`. The exit status is 0 only when all of its checks passed.
"""

import argparse
import subprocess
import sys
import tempfile
from pathlib import Path

from server import JOB_SECONDS, Server


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("binary", type=Path)
    parser.add_argument("node", type=Path)
    parser.add_argument("client", type=Path)
    parser.add_argument("--device", default="cpu")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="framewright-e2e-node-") as directory:
        server = Server(arguments.binary, Path(directory), {"FRAMEWRIGHT_DEVICE": arguments.device})
        try:
            server.start()
            key = server.run("keys", "create", "--user", "e2e").strip()
            subprocess.run(
                [arguments.node.resolve(), arguments.client.resolve()], stdin=subprocess.DEVNULL, check=True, timeout=2 * JOB_SECONDS,
                env={"ADDRESS": server.address, "KEY": key, "HOME": directory},
            )
            assert server.stop() == 0, "SIGTERM ends the server with status 0"
            log = (server.directory / "server.log").read_text(errors="replace")
            assert "panicked" not in log, "the server's log has a panic"
        except BaseException:
            sys.stderr.write(server.end_of_log())
            raise
        finally:
            if server.process and server.process.poll() is None:
                server.kill()


if __name__ == "__main__":
    main()
