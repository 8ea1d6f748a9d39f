#!/usr/bin/env python3
"""Times framewright's SVD networks against diffusers', in turn, at full published size with random weights.

Two programs on one machine disturb each other and the machine's speed drifts, so each pair of figures comes from runs that
alternate (ours, theirs, ours, theirs), and the claim is the ratio of the medians. diffusers gets the faster of its memory layouts,
which its first run finds out. Beside the ratio of the clock's seconds stands that of the processor's, of all threads together. With one
thread, which never waits for another, it is the one to believe on a machine that has other things to do (see the load).

    scripts/bench/compare_svd.sh                  # everything; 24 GB of memory
    scripts/bench/compare_svd.sh --only unet:f32  # one row
    scripts/bench/compare_svd.sh --threads 1      # on a busy machine
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]

# component, precision, bound on our time divided by theirs
ROWS = [("unet", "f32", 0.7), ("unet", "bf16", 1.0), ("vae", "f32", None), ("vae", "bf16", None)]


def build_bench() -> Path:
    """Compiles the engine's bench and gives its path."""
    command = ["cargo", "bench", "-p", "framewright-engine", "--bench", "svd", "--no-run", "--message-format=json"]
    output = subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.PIPE, text=True).stdout
    for line in output.splitlines():
        message = json.loads(line) if line.startswith("{") else {}
        if message.get("executable") and message.get("target", {}).get("name") == "svd":
            return Path(message["executable"])
    raise SystemExit("cargo built no bench")


def measured(program: list[str], component: str, precision: str, options: argparse.Namespace, *more: str) -> dict:
    """One run of a program: the last JSON object that it printed."""
    frames = options.vae_frames if component == "vae" else options.frames
    command = [*program, "--component", component, "--precision", precision, "--width", str(options.width), "--height",
               str(options.height), "--frames", str(frames), "--repeats", str(options.repeats), *more]
    environment = {**os.environ, **({"RAYON_NUM_THREADS": str(options.threads)} if options.threads else {})}
    output = subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.PIPE, text=True, env=environment).stdout
    return [json.loads(line) for line in output.splitlines() if line.startswith("{")][-1]


def median(records: list[dict], key: str) -> float:
    return statistics.median(record[key] for record in records)


def main() -> int:
    """Prints the table; exit status 1 when a bound is missed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--width", type=int, default=448, help="pixels")
    parser.add_argument("--height", type=int, default=256, help="pixels")
    parser.add_argument("--frames", type=int, default=14, help="of an evaluation")
    parser.add_argument("--vae-frames", type=int, default=8, help="that are decoded together")
    parser.add_argument("--rounds", type=int, default=2, help="alternations")
    parser.add_argument("--repeats", type=int, default=1, help="timed evaluations a run, after one that is not")
    parser.add_argument("--threads", type=int, default=0, help="of both programs; 0: as many as they take by themselves")
    parser.add_argument("--only", help="component:precision")
    parser.add_argument("--bench", type=Path, help="the built bench, instead of building it")
    options = parser.parse_args()
    ours = [str(options.bench or build_bench())]
    theirs = [sys.executable, str(ROOT / "scripts/bench/diffusers_svd_bench.py")]
    missed = False
    print("| network | precision | framewright, s | diffusers, s | ratio | of processor time | bound | our peak memory, GB | load |")
    print("|---|---|---|---|---|---|---|---|---|", flush=True)
    for component, precision, bound in ROWS:
        if options.only not in (None, f"{component}:{precision}"):
            continue
        load = os.getloadavg()[0]
        records, references, layout = [], [], "both"
        for _ in range(options.rounds):
            records.append(measured(ours, component, precision, options))
            threads = ["--threads", str(options.threads)]
            references.append(measured(theirs, component, precision, options, "--layout", layout, *threads))
            layout = references[0]["layout"]
        seconds, reference = median(records, "seconds"), median(references, "seconds")
        processor_ratio = median(records, "processor_seconds") / median(references, "processor_seconds")
        peak = max(record["peak_memory_bytes"] for record in records)
        ratio = seconds / reference
        missed |= bound is not None and ratio > bound
        frames = options.vae_frames if component == "vae" else options.frames
        print(
            f"| {component} {frames} × {options.width}×{options.height} | {precision} | {seconds:.2f} | {reference:.2f} ({layout}) "
            f"| {ratio:.2f} | {processor_ratio:.2f} | {bound or '–'} | {peak / 1e9:.2f} | {load:.1f} |",
            flush=True,
        )
    return int(missed)


if __name__ == "__main__":
    sys.exit(main())
