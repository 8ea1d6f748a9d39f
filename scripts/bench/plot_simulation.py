#!/usr/bin/env python3
"""Draws docs/images/simulation-*.png from what the long form of the scheduler simulation wrote below target/simulation.

    FRAMEWRIGHT_LONG=1 cargo test --release --test simulation -- --nocapture --test-threads 1
    scripts/bench/plot_simulation.py [directory]

Needs matplotlib.
"""

import csv
import json
import sys
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
from matplotlib.ticker import PercentFormatter

ROOT = Path(__file__).resolve().parents[2]
RUNS = (("eight", "8 devices, 24 models"), ("thousand", "1,000 devices, 100 models"))
BLUE, ORANGE, GREY = "#2b6cb0", "#c05621", "#718096"


def read(path):
    with path.open(newline="") as file:
        return [{name: float(value) for name, value in row.items()} for row in csv.DictReader(file)]


def style(axes, title):
    axes.set_title(title, loc="left", fontsize=11)
    axes.grid(alpha=0.25)
    axes.spines[["top", "right"]].set_visible(False)


def draw_course(source, target):
    """Backlog, share of devices that evaluate, and loads against time, one column a fleet."""
    figure, rows = plt.subplots(3, 2, figsize=(11, 8), sharex="col", constrained_layout=True)
    for column, (name, title) in enumerate(RUNS):
        samples = read(source / f"{name}-samples.csv")
        summary = json.loads((source / f"{name}.json").read_text())
        hours = [sample["hour"] for sample in samples]
        end = summary["backlog_end_hour"]
        waiting, evaluating, loads = (rows[row][column] for row in range(3))

        style(waiting, title)
        waiting.plot(hours, [sample["waiting"] / 1e3 for sample in samples], color=BLUE)
        waiting.set_ylabel("tasks waiting, thousands")

        style(evaluating, "")
        evaluating.plot(hours, [sample["evaluating"] for sample in samples], color=BLUE, linewidth=0.8)
        evaluating.axhline(0.95, color=ORANGE, linestyle="--", linewidth=1, label="required on average: 95 %")
        evaluating.yaxis.set_major_formatter(PercentFormatter(1.0))
        evaluating.set_ylim(0, 1.05)
        evaluating.set_ylabel("devices evaluating\n(at an instant)")
        evaluating.legend(loc="lower left", fontsize=9, frameon=False)

        style(loads, "")
        fewest = summary["fewest_loads"][0][1]
        loads.plot(hours, [sample["loads"] for sample in samples], color=BLUE, label="model loads")
        loads.plot([0, end], [fewest, fewest], color=GREY, linewidth=1, label=f"lower bound: {fewest:,}")
        loads.plot([0, end], [1.2 * fewest] * 2, color=ORANGE, linestyle="--", linewidth=1, label="allowed: 1.2 × the bound")
        loads.axvline(end, color=GREY, linestyle=":", linewidth=1)
        loads.set_ylim(bottom=0)
        loads.set_ylabel("loads so far")
        loads.set_xlabel("simulated hours (dotted: end of the backlog)")
        loads.legend(loc="lower right", fontsize=9, frameon=False)
    figure.savefig(target / "simulation-course.png", dpi=110)


def draw_waits(source, target):
    """How long light tenants' jobs took, against equal device shares."""
    figure, axes = plt.subplots(figsize=(8, 4.2), constrained_layout=True)
    style(axes, "Light tenants' jobs: time from submission to end ÷ time under equal device shares")
    for (name, title), color in zip(RUNS, (BLUE, ORANGE)):
        ratios = sorted(row["ratio"] for row in read(source / f"{name}-light.csv"))
        mean = json.loads((source / f"{name}.json").read_text())["light_ratio"]
        parts = [(index + 1) / len(ratios) for index in range(len(ratios))]
        axes.plot(ratios, parts, color=color, label=f"{title}: mean {mean:.2f}")
    axes.axvline(2, color=GREY, linestyle="--", linewidth=1, label="allowed mean: 2")
    axes.set_xlim(0, 6)
    axes.yaxis.set_major_formatter(PercentFormatter(1.0))
    axes.set_xlabel("ratio")
    axes.set_ylabel("jobs with at most this ratio")
    axes.legend(loc="lower right", fontsize=9, frameon=False)
    figure.savefig(target / "simulation-waits.png", dpi=110)


def main():
    source = Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT / "target" / "simulation"
    target = ROOT / "docs" / "images"
    draw_course(source, target)
    draw_waits(source, target)


if __name__ == "__main__":
    main()
