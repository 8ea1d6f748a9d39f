"""Stable Video Diffusion's networks, one at a time: UNet, autoencoder, image encoder, and the resize before the latter."""

import json
from pathlib import Path

import numpy as np
import torch
from diffusers import AutoencoderKLTemporalDecoder, UNetSpatioTemporalConditionModel
from diffusers.pipelines.stable_video_diffusion.pipeline_stable_video_diffusion import _resize_with_antialiasing
from transformers import CLIPVisionConfig, CLIPVisionModelWithProjection

from fixture import write_case
from weights import fill, input_tensor, parameter_count, uniforms

DOWN, CROSS_DOWN = "DownBlockSpatioTemporal", "CrossAttnDownBlockSpatioTemporal"
UP, CROSS_UP = "UpBlockSpatioTemporal", "CrossAttnUpBlockSpatioTemporal"
TWO_LEVEL = {
    "block_out_channels": [32, 64], "layers_per_block": 2, "sample_size": 32, "in_channels": 8, "out_channels": 4,
    "down_block_types": [CROSS_DOWN, DOWN], "up_block_types": [UP, CROSS_UP], "cross_attention_dim": 32,
    "num_attention_heads": [2, 4], "projection_class_embeddings_input_dim": 96, "addition_time_embed_dim": 32,
    "transformer_layers_per_block": 1, "num_frames": 3,
}
THREE_LEVEL = {
    **TWO_LEVEL, "block_out_channels": [32, 64, 96], "layers_per_block": [1, 2, 1], "num_attention_heads": [1, 4, 6],
    "down_block_types": [DOWN, CROSS_DOWN, CROSS_DOWN], "up_block_types": [CROSS_UP, CROSS_UP, UP], "cross_attention_dim": 40,
    "transformer_layers_per_block": [1, 2, 3], "projection_class_embeddings_input_dim": 48, "addition_time_embed_dim": 16,
}
# height and width are the latent's; a size that does not divide by 2^(levels - 1) takes the upsample-to-size path. Timesteps are
# 0.25·ln σ: fractions, and negative at the end.
UNETS = {
    "two_level": {"config": TWO_LEVEL, "batch": 2, "frames": 3, "size": (8, 12), "timesteps": [1.6377702, -1.2]},
    "three_level": {"config": THREE_LEVEL, "batch": 1, "frames": 5, "size": (9, 7), "timesteps": [0.4375]},
    "many_frames": {
        "config": {**TWO_LEVEL, "layers_per_block": 1, "num_attention_heads": 2}, "batch": 1, "frames": 35, "size": (4, 2),
        "timesteps": [-0.75]},
    "one_frame": {"config": {**TWO_LEVEL, "layers_per_block": 1}, "batch": 2, "frames": 1, "size": (4, 6), "timesteps": [1.0, 0.0]},
}
ADDED_IDS = [[6.0, 127.0, 0.02], [24.0, 12.0, 0.3]]

VAE_TWO_LEVEL = {
    "block_out_channels": [32, 64], "layers_per_block": 2, "in_channels": 3, "out_channels": 3, "latent_channels": 4,
    "down_block_types": ["DownEncoderBlock2D"] * 2, "sample_size": 32, "scaling_factor": 0.18215, "force_upcast": True,
}
VAE_FOUR_LEVEL = {
    **VAE_TWO_LEVEL, "block_out_channels": [32, 32, 64, 96], "layers_per_block": 1, "down_block_types": ["DownEncoderBlock2D"] * 4,
}
VAE_THREE_LAYERS = {**VAE_TWO_LEVEL, "layers_per_block": 3}
# The decoder sees a chunk of frames at a time, and how a clip is cut shows.
VAES = {
    "two_level": {"config": VAE_TWO_LEVEL, "image": (12, 20), "frames": 5, "chunks": [5, 3, 1]},
    "four_level": {"config": VAE_FOUR_LEVEL, "image": (16, 24), "frames": 3, "chunks": [3, 2]},
    "three_layers": {"config": VAE_THREE_LAYERS, "image": (6, 10), "frames": 2, "chunks": [2]},
}

ENCODERS = {
    "gelu": {
        "hidden_size": 32, "intermediate_size": 37, "num_attention_heads": 4, "num_hidden_layers": 5, "hidden_act": "gelu",
        "image_size": 28, "patch_size": 7, "projection_dim": 24, "layer_norm_eps": 1e-5},
    "quick_gelu": {
        "hidden_size": 48, "intermediate_size": 64, "num_attention_heads": 3, "num_hidden_layers": 2, "hidden_act": "quick_gelu",
        "image_size": 30, "patch_size": 10, "projection_dim": 40, "layer_norm_eps": 1e-3},
}
CLIP_MEAN, CLIP_STD = [0.48145466, 0.4578275, 0.40821073], [0.26862954, 0.26130258, 0.27577711]

# From (height, width) to (height, width): reduced a lot, a little, enlarged, each axis its own way, and mirrored more than once.
RESIZES = {
    "reduced": {"from": (150, 211), "to": (28, 30)},
    "mixed": {"from": (23, 120), "to": (32, 16)},
    "enlarged": {"from": (7, 5), "to": (20, 12)},
    "to_one": {"from": (9, 4), "to": (1, 3)},
}


def config_json(model: torch.nn.Module) -> dict:
    """The configuration exactly as `save_config` writes it."""
    return json.loads(model.to_json_string())


def rgb(name: str, height: int, width: int) -> np.ndarray:
    """Bytes by the formula: what a picture of noise would be after u8."""
    return np.floor(uniforms(name, height * width * 3) * 256).astype(np.uint8).reshape(height, width, 3)


def resized(picture: np.ndarray, height: int, width: int) -> torch.Tensor:
    """As the pipeline does it, from bytes to −1…1."""
    image = torch.from_numpy(picture.astype(np.float32) / 255.0).permute(2, 0, 1)[None]
    return _resize_with_antialiasing(image * 2.0 - 1.0, (height, width))


def unets(root: Path) -> None:
    for name, case in UNETS.items():
        model = fill(UNetSpatioTemporalConditionModel(**case["config"]))
        batch, frames, (height, width) = case["batch"], case["frames"], case["size"]
        sample = input_tensor("input.sample", (batch, frames, 8, height, width))
        context = input_tensor("input.context", (batch, 1, case["config"]["cross_attention_dim"]))
        # zero is no picture: rows with and without one share an evaluation
        context[batch - 1 :] *= 0.0 if batch > 1 else 1.0
        out = model(sample, torch.tensor(case["timesteps"]), context, torch.tensor(ADDED_IDS[:batch])).sample
        write_case(root / "svd_components/unet", name, {
            "config": config_json(model), "salt": "", "parameters": parameter_count(model),
            "inputs": {"input.sample": list(sample.shape), "input.context": [batch, case["config"]["cross_attention_dim"]]},
            "timesteps": case["timesteps"], "added_ids": ADDED_IDS[:batch],
            "outputs": "sample; in a batch the last row's context is zeros",
        }, {"sample": out})


def vaes(root: Path) -> None:
    for name, case in VAES.items():
        model = fill(AutoencoderKLTemporalDecoder(**case["config"]))
        height, width = case["image"]
        factor = 2 ** (len(case["config"]["block_out_channels"]) - 1)
        image = input_tensor("input.image", (1, 3, height, width))
        latents = input_tensor("input.latents", (case["frames"], 4, height // factor, width // factor))
        posterior = model.encode(image).latent_dist
        outputs = {"mean": posterior.mode(), "logvar": posterior.logvar}
        for chunk in case["chunks"]:
            parts = [latents[first : first + chunk] for first in range(0, case["frames"], chunk)]
            outputs[f"image.{chunk}"] = torch.cat([model.decode(part, num_frames=part.shape[0]).sample for part in parts])
        write_case(root / "svd_components/vae", name, {
            "config": config_json(model), "salt": "", "parameters": parameter_count(model),
            "inputs": {"input.image": list(image.shape), "input.latents": list(latents.shape)}, "chunks": case["chunks"],
            "outputs": "mean and logvar (clamped) of encode(image); image.N = latents decoded N frames at a time, as they are",
        }, outputs)


def encoders(root: Path) -> None:
    for name, settings in ENCODERS.items():
        model = fill(CLIPVisionModelWithProjection(CLIPVisionConfig(**settings, attn_implementation="eager")))
        side = settings["image_size"]
        picture = rgb("input.picture", 37, 59)
        small = resized(picture, side, side)
        mean, deviation = (torch.tensor(values)[None, :, None, None] for values in (CLIP_MEAN, CLIP_STD))
        normalised = ((small + 1.0) / 2.0 - mean) / deviation
        write_case(root / "svd_components/image_encoder", name, {
            "config": {"model_type": "clip_vision_model", "num_channels": 3, **settings}, "salt": "",
            "parameters": parameter_count(model), "picture": list(picture.shape),
            "outputs": "embedding of the picture, whose bytes are floor(256·u) of the formula's input.picture",
        }, {"embedding": model(normalised).image_embeds})


def resizes(root: Path) -> None:
    for name, case in RESIZES.items():
        write_case(root / "svd_components/resize", name, {
            "from": list(case["from"]), "to": list(case["to"]),
            "outputs": "[1, 3, height, width], −1…1 and beyond; bytes of the picture as for the image encoder",
        }, {"resized": resized(rgb("input.picture", *case["from"]), *case["to"])})


@torch.no_grad()
def generate(root: Path) -> None:
    unets(root)
    vaes(root)
    encoders(root)
    resizes(root)
