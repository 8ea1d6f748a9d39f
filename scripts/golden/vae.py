"""AutoencoderKL: moments of an image's posterior, and the decoded image before any clamping, whole and in tiles."""

import json
from pathlib import Path

import torch
from diffusers import AutoencoderKL

from fixture import write_case
from weights import fill, input_tensor, parameter_count

TWO_LEVEL = {
    "block_out_channels": [32, 64], "layers_per_block": 1, "in_channels": 3, "out_channels": 3, "latent_channels": 4,
    "down_block_types": ["DownEncoderBlock2D"] * 2, "up_block_types": ["UpDecoderBlock2D"] * 2,
    "sample_size": 128, "norm_num_groups": 32, "scaling_factor": 0.13025,
}
FOUR_LEVEL = {
    **TWO_LEVEL, "block_out_channels": [16, 32, 48, 64], "layers_per_block": 2, "norm_num_groups": 16,
    "down_block_types": ["DownEncoderBlock2D"] * 4, "up_block_types": ["UpDecoderBlock2D"] * 4, "sample_size": 64,
}

# Image height and width. The encoder pads right and bottom only, which a square image would not show as well.
CASES = {
    "two_level": {"config": TWO_LEVEL, "batch": 2, "image": (12, 20)},
    "four_level": {"config": FOUR_LEVEL, "batch": 1, "image": (24, 40)},
    "two_level_odd": {"config": {**TWO_LEVEL, "layers_per_block": 2}, "batch": 1, "image": (10, 26)},
}

# Latent height and width. Tiles of 8 begin every 6, tiles of 4 every 3; the last ones are cut off.
TILED_CASES = {
    "two_level": {"config": {**TWO_LEVEL, "sample_size": 16}, "latents": (13, 20)},
    "four_level": {"config": {**FOUR_LEVEL, "sample_size": 32}, "latents": (7, 4)},
}


def config_json(model: AutoencoderKL) -> dict:
    return json.loads(model.to_json_string())


@torch.no_grad()
def generate(root: Path) -> None:
    for name, case in CASES.items():
        model = fill(AutoencoderKL(**case["config"]))
        height, width = case["image"]
        factor = 2 ** (len(case["config"]["block_out_channels"]) - 1)
        image = input_tensor("input.image", (case["batch"], 3, height, width))
        latents = input_tensor("input.latents", (case["batch"], 4, height // factor, width // factor))
        posterior = model.encode(image).latent_dist
        write_case(root / "vae", name, {
            "config": config_json(model), "salt": "", "parameters": parameter_count(model),
            "inputs": {"input.image": list(image.shape), "input.latents": list(latents.shape)},
            "outputs": "mean and logvar (clamped) of encode(image); image = decode(latents), no scaling_factor applied",
        }, {"mean": posterior.mean, "logvar": posterior.logvar, "image": model.decode(latents).sample})
    for name, case in TILED_CASES.items():
        model = fill(AutoencoderKL(**case["config"]))
        latents = input_tensor("input.latents", (1, 4, *case["latents"]))
        model.enable_tiling()
        write_case(root / "vae/tiled", name, {
            "config": config_json(model), "salt": "", "parameters": parameter_count(model),
            "inputs": {"input.latents": list(latents.shape)}, "outputs": "image = tiled_decode(latents)",
        }, {"image": model.decode(latents).sample})
