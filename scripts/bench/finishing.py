"""What torch takes for the work of `cargo bench -p framewright-engine --bench finishing`.

Run with the Python environment of scripts/golden: target/golden-python/bin/python scripts/bench/finishing.py
"""

import statistics
import sys
import time
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "golden"))

import interpolate  # noqa: E402
import upscale  # noqa: E402

CALLS = 5
NETWORKS = {"RRDBNet 64×23, 4×": "rrdb_x4plus", "RRDBNet 64×6, 4×": "rrdb_x4plus_anime", "SRVGGNetCompact 64×16, 4×": "compact_animevideov3"}


def line(name: str, call) -> None:
    call()
    times = []
    for _ in range(CALLS):
        started = time.perf_counter()
        call()
        times.append(time.perf_counter() - started)
    print(f"{name:<44} {statistics.median(times) * 1e3:9.1f} ms")


@torch.inference_mode()
def main() -> None:
    for layout, name in ((torch.contiguous_format, "nchw"), (torch.channels_last, "nhwc")):
        print(f"torch {torch.__version__} f32 {name}, {torch.get_num_threads()} threads")
        for title, case in NETWORKS.items():
            model, _ = upscale.network(upscale.CASES[case])
            model = model.to(memory_format=layout)
            picture = torch.rand(1, 3, 128, 128).to(memory_format=layout)
            line(f"{title}, 128²", lambda: model(picture))
        for side in (256, 512):
            frames = [torch.rand(1, 3, side, side) for _ in range(2)]
            line(f"RIFE 4.25, {side}², both frames encoded", interpolate.prepared(interpolate.PUBLISHED, frames, 0.5, layout))


main()
