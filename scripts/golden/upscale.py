"""Real-ESRGAN by spandrel's networks, which carry the published names over to their own."""

from collections import OrderedDict
from pathlib import Path

import torch

from fixture import write_case
from published_package import part
from weights import input_tensor, parameter

COLOURS = 3
# spandrel builds dense blocks of 32 channels of growth only.
GROWTH = 32

# `shape` is the picture's height and width.
CASES = {
    "rrdb_tiny": {"features": 16, "blocks": 2, "unshuffle": 1, "shape": (7, 11)},
    "rrdb_tiny_x2": {"features": 16, "blocks": 1, "unshuffle": 2, "shape": (11, 14)},
    "rrdb_x4plus": {"features": 64, "blocks": 23, "unshuffle": 1, "shape": (20, 24)},
    "rrdb_x4plus_anime": {"features": 64, "blocks": 6, "unshuffle": 1, "shape": (16, 12)},
    "rrdb_x2plus": {"features": 64, "blocks": 23, "unshuffle": 2, "shape": (22, 26)},
    "compact_tiny": {"features": 8, "convolutions": 2, "scale": 2, "shape": (9, 13)},
    "compact_animevideov3": {"features": 64, "convolutions": 16, "scale": 4, "shape": (24, 20)},
    "compact_general_x4v3": {"features": 64, "convolutions": 32, "scale": 4, "shape": (13, 17)},
}
SAVED = {"features": 8, "convolutions": 1, "scale": 4, "shape": (6, 5)}


def convolution(name: str, inputs: int, outputs: int) -> dict:
    return {f"{name}.weight": (outputs, inputs, 3, 3), f"{name}.bias": (outputs,)}


def rrdb_shapes(features: int, blocks: int, unshuffle: int) -> dict:
    """Names and shapes as basicsr publishes them."""
    shapes = convolution("conv_first", COLOURS * unshuffle**2, features)
    for block in range(blocks):
        for dense in (1, 2, 3):
            for index in range(5):
                outputs = GROWTH if index < 4 else features
                shapes |= convolution(f"body.{block}.rdb{dense}.conv{index + 1}", features + index * GROWTH, outputs)
    for name in ("conv_body", "conv_up1", "conv_up2", "conv_hr"):
        shapes |= convolution(name, features, features)
    return shapes | convolution("conv_last", features, COLOURS)


def compact_shapes(features: int, convolutions: int, scale: int) -> dict:
    shapes = {}
    for index in range(convolutions + 1):
        shapes |= convolution(f"body.{2 * index}", COLOURS if index == 0 else features, features)
        shapes[f"body.{2 * index + 1}.weight"] = (features,)
    return shapes | convolution(f"body.{2 * convolutions + 2}", features, COLOURS * scale**2)


def state(shapes: dict) -> OrderedDict:
    return OrderedDict((name, torch.from_numpy(parameter(name, shape))) for name, shape in shapes.items())


def picture(shape: tuple[int, int]) -> torch.Tensor:
    """Values from 0 to 1."""
    return input_tensor("input.picture", (1, COLOURS, *shape)) / 3.5 + 0.5


def network(case: dict) -> tuple[torch.nn.Module, dict]:
    settings = {key: value for key, value in case.items() if key != "shape"}
    if "blocks" in settings:
        shapes, architecture = rrdb_shapes(**settings), part("spandrel", "architectures.ESRGAN").ESRGANArch()
    else:
        shapes, architecture = compact_shapes(**settings), part("spandrel", "architectures.Compact").CompactArch()
    return architecture.load(state(shapes)).model.eval(), shapes


@torch.no_grad()
def generate(root: Path) -> None:
    for name, case in CASES.items():
        model, shapes = network(case)
        settings = {key: value for key, value in case.items() if key != "shape"}
        parameters = sum(torch.Size(shape).numel() for shape in shapes.values())
        write_case(root / "upscale", name, {
            "config": settings, "parameters": parameters, "inputs": {"input.picture": [1, COLOURS, *case["shape"]]},
            "outputs": "picture = network(input.picture / 3.5 + 0.5), not clamped",
        }, {"picture": model(picture(case["shape"]))})
    model, shapes = network(SAVED)
    weights = {name: value.half() for name, value in state(shapes).items()}
    path = root / "upscale" / "saved" / "compact.pth"
    path.parent.mkdir(parents=True, exist_ok=True)
    plain = OrderedDict((name, torch.zeros_like(value)) for name, value in weights.items())
    torch.save({"params": plain, "params_ema": OrderedDict(weights)}, path)
    path.chmod(0o644)
