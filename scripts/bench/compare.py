#!/usr/bin/env python3
"""Times framewright's SDXL networks against diffusers', in turn, at full published size with random weights.

Two programs on one machine disturb each other and the machine's speed drifts, so each pair of figures comes from runs that
alternate (ours, theirs, ours, theirs), and the claim is the ratio of the medians.

    scripts/bench/compare.sh                  # everything: about 20 minutes on two cores, 16 GB of memory
    scripts/bench/compare.sh --only unet:f32  # one row
"""

import argparse
import json
import statistics
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]

# component, our precision, bound on our time divided by theirs
ROWS = [("unet", "f32", 0.7), ("unet", "bf16", 1.0), ("vae", "f32", 1.1), ("vae", "bf16", None)]
# Peak memory may exceed the weights in their working precision by a tenth and two gigabytes.
MEMORY_FACTOR, MEMORY_SLACK_BYTES = 1.1, 2_000_000_000


def build_bench() -> Path:
    """Compiles the engine's bench and gives its path."""
    command = ["cargo", "bench", "-p", "framewright-engine", "--bench", "sdxl", "--no-run", "--message-format=json"]
    output = subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.PIPE, text=True).stdout
    for line in output.splitlines():
        message = json.loads(line) if line.startswith("{") else {}
        if message.get("executable") and message.get("target", {}).get("name") == "sdxl":
            return Path(message["executable"])
    raise SystemExit("cargo built no bench")


def last_json(command: list[str]) -> list[dict]:
    """Runs a program and gives the JSON objects that it printed, one a line."""
    output = subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.PIPE, text=True).stdout
    return [json.loads(line) for line in output.splitlines() if line.startswith("{")]


def ours(bench: Path, component: str, precision: str, options: argparse.Namespace) -> dict:
    """One run of our bench."""
    command = [str(bench), "--component", component, "--precision", precision, "--size", str(options.size)]
    return last_json([*command, "--repeats", str(options.repeats)])[-1]


def theirs(component: str, precision: str, options: argparse.Namespace) -> float:
    """One run of diffusers: seconds in the faster of its memory layouts."""
    script = str(ROOT / "scripts/bench/diffusers_bench.py")
    command = [sys.executable, script, "--component", component, "--dtype", precision, "--size", str(options.size)]
    return min(record["seconds"] for record in last_json([*command, "--repeats", str(options.repeats)]))


def main() -> int:
    """Prints the table; exit status 1 when a bound is missed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", type=int, default=512, help="pixels a side")
    parser.add_argument("--rounds", type=int, default=2, help="alternations")
    parser.add_argument("--repeats", type=int, default=3, help="timed evaluations a run")
    parser.add_argument("--only", help="component:precision")
    options = parser.parse_args()
    bench = build_bench()
    missed = False
    print("| network | precision | framewright, s | diffusers, s | ratio | bound | peak memory, GB | allowed, GB |")
    print("|---|---|---|---|---|---|---|---|", flush=True)
    for component, precision, bound in ROWS:
        if options.only not in (None, f"{component}:{precision}"):
            continue
        records, references = [], []
        for _ in range(options.rounds):
            records.append(ours(bench, component, precision, options))
            references.append(theirs(component, precision, options))
        seconds = statistics.median(record["seconds"] for record in records)
        reference = statistics.median(references)
        peak = max(record["peak_memory_bytes"] for record in records)
        allowed = records[0]["weights_bytes"] * MEMORY_FACTOR + MEMORY_SLACK_BYTES
        ratio = seconds / reference
        missed |= (bound is not None and ratio > bound) or peak > allowed
        print(
            f"| {component} {options.size}² | {precision} | {seconds:.2f} | {reference:.2f} | {ratio:.2f} | {bound or '–'} "
            f"| {peak / 1e9:.2f} | {allowed / 1e9:.2f} |",
            flush=True,
        )
    return int(missed)


if __name__ == "__main__":
    sys.exit(main())
