"""Whole clips: diffusers' StableVideoDiffusionPipeline on tiny checkpoints, whose folders `save_pretrained` wrote.

Weights are by the formula, so only their names and shapes are stored.
"""

import shutil
import tempfile
from pathlib import Path

import numpy as np
import torch
from diffusers import (
    AutoencoderKLTemporalDecoder,
    EulerDiscreteScheduler,
    StableVideoDiffusionPipeline,
    UNetSpatioTemporalConditionModel,
)
from PIL import Image
from transformers import CLIPImageProcessor, CLIPVisionConfig, CLIPVisionModelWithProjection

from fixture import write_case, write_json, write_manifest
from pipeline import refuse_degenerate
from saved import forget_where_it_was_made
from svd_scheduler import PUBLISHED
from weights import fill, manifest

# What SVD is published with; the pipeline resizes by itself and asks the extractor for mean and deviation alone.
FEATURE_EXTRACTOR = {
    "crop_size": {"height": 224, "width": 224}, "do_center_crop": True, "do_convert_rgb": True, "do_normalize": True,
    "do_rescale": True, "do_resize": True, "image_mean": [0.48145466, 0.4578275, 0.40821073],
    "image_std": [0.26862954, 0.26130258, 0.27577711], "resample": 3, "rescale_factor": 1 / 255, "size": {"shortest_edge": 224},
}
CROSS = ("CrossAttnDownBlockSpatioTemporal", "CrossAttnUpBlockSpatioTemporal")
PLAIN = ("DownBlockSpatioTemporal", "UpBlockSpatioTemporal")

CHECKPOINTS = {
    "two_level": {
        "unet": {
            "sample_size": 24, "num_frames": 5, "block_out_channels": [32, 64], "num_attention_heads": [2, 4],
            "down_block_types": [CROSS[0], PLAIN[0]], "up_block_types": [PLAIN[1], CROSS[1]], "layers_per_block": 1,
            "cross_attention_dim": 24, "addition_time_embed_dim": 16, "projection_class_embeddings_input_dim": 48},
        "vae": {
            "block_out_channels": [32, 64], "down_block_types": ["DownEncoderBlock2D"] * 2, "layers_per_block": 1,
            "sample_size": 48, "scaling_factor": 0.18215},
        "image_encoder": {
            "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 2, "patch_size": 56,
            "projection_dim": 24, "hidden_act": "gelu"}},
    "three_level": {
        "unet": {
            "sample_size": 12, "num_frames": 3, "block_out_channels": [32, 64, 96], "num_attention_heads": [1, 4, 3],
            "down_block_types": [CROSS[0], CROSS[0], PLAIN[0]], "up_block_types": [PLAIN[1], CROSS[1], CROSS[1]],
            "layers_per_block": 2, "transformer_layers_per_block": [1, 2, 1], "cross_attention_dim": 40,
            "addition_time_embed_dim": 32, "projection_class_embeddings_input_dim": 96},
        "vae": {
            "block_out_channels": [32, 32, 64, 64], "down_block_types": ["DownEncoderBlock2D"] * 4, "layers_per_block": 2,
            "sample_size": 96, "scaling_factor": 0.2},
        "image_encoder": {
            "hidden_size": 48, "intermediate_size": 64, "num_hidden_layers": 3, "num_attention_heads": 3, "patch_size": 32,
            "projection_dim": 40, "hidden_act": "gelu"},
        "stored": "f16"},
}

# Sizes are (width, height) in pixels; the initial picture of the first case is smaller than CLIP's 224, that of the others larger.
# `float` keeps the decoded frames in f32 as well. The sides of `three_level` are odd in latent positions.
CASES = {
    "guided": {"checkpoint": "two_level", "steps": 6, "size": (48, 32), "init": "small", "float": True},
    "unguided_chunks": {
        "checkpoint": "two_level", "steps": 4, "size": (32, 40), "max_guidance": 1.0, "chunk": 2, "fps": 12, "motion_bucket": 40,
        "noise_aug": 0.3, "seed": 2**32 + 9},
    "frames_of_request": {
        "checkpoint": "two_level", "steps": 3, "size": (40, 24), "frames": 7, "chunk": 3, "min_guidance": 2.0, "max_guidance": 5.0},
    "one_frame": {
        "checkpoint": "two_level", "steps": 2, "size": (32, 32), "frames": 1, "noise_aug": 0.0, "min_guidance": 2.0},
    "odd_latents": {"checkpoint": "three_level", "steps": 5, "size": (104, 72), "chunk": 2, "seed": 7},
    "odd_latents_whole": {
        "checkpoint": "three_level", "steps": 8, "size": (72, 56), "min_guidance": 3.0, "max_guidance": 1.5, "motion_bucket": 200},
}
DEFAULTS = {"frames": None, "min_guidance": 1.0, "max_guidance": 3.0, "fps": 7, "motion_bucket": 127, "noise_aug": 0.02,
            "chunk": None, "seed": 42, "init": "large"}
# Random temporal convolutions mix frames to something calmer than single pictures.
LEAST_DEVIATION = 10.0
INIT_SIZES = {"small": (70, 50), "large": (300, 236)}


def init_image(size: tuple[int, int]) -> Image.Image:
    """Smooth colours with a disc and stripes: something for two resampling filters to ring on."""
    width, height = size
    y, x = np.mgrid[0:height, 0:width]
    picture = np.stack([255 * x // (width - 1), 255 * y // (height - 1), 128 + 0 * x], axis=-1).astype(np.uint8)
    picture[(x - width // 3) ** 2 + (y - height // 2) ** 2 < (height // 4) ** 2] = (230, 40, 60)
    picture[(x > 2 * width // 3) & (x % 6 < 3)] = (10, 20, 30)
    return Image.fromarray(picture)


class Checkpoint:
    """The networks of one checkpoint, built and filled."""

    def __init__(self, name: str):
        definition = CHECKPOINTS[name]
        self.name = name
        self.stored = definition.get("stored", "f32")
        self.networks = {
            "unet": UNetSpatioTemporalConditionModel(**definition["unet"]),
            "vae": AutoencoderKLTemporalDecoder(**definition["vae"]),
            "image_encoder": CLIPVisionModelWithProjection(CLIPVisionConfig(**definition["image_encoder"], image_size=224)),
        }
        for component, network in self.networks.items():
            fill(network, self.salt(component), self.stored)

    def salt(self, component: str) -> str:
        """Sets apart components and checkpoints."""
        return f"svd_{self.name}/{component}/"

    def pipeline(self) -> StableVideoDiffusionPipeline:
        return StableVideoDiffusionPipeline(
            scheduler=EulerDiscreteScheduler.from_config(PUBLISHED), feature_extractor=CLIPImageProcessor(**FEATURE_EXTRACTOR),
            **self.networks)

    def write(self, directory: Path) -> None:
        """Every file that `save_pretrained` writes but the weights; a manifest in their place."""
        with tempfile.TemporaryDirectory() as folder:
            written = Path(folder)
            self.pipeline().save_pretrained(written, safe_serialization=True)
            forget_where_it_was_made(written)
            for path in sorted(written.rglob("*.json")):
                target = directory / path.relative_to(written)
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(path, target)
        for component, network in self.networks.items():
            write_manifest(directory / component / "tensors.tsv", manifest(network))
        write_json(directory / "golden.json", {
            "name": self.name, "stored": self.stored,
            "salts": {component: self.salt(component) for component in self.networks},
        })


def rendered(pipe: StableVideoDiffusionPipeline, case: dict, picture: Image.Image) -> dict[str, torch.Tensor]:
    """One run. The callback sees latents after every step, as the sampler left them."""
    pipe.set_progress_bar_config(disable=True)
    width, height = case["size"]
    trace, decoded, encoded, embedded = [], [], [], []

    def after_step(_pipe, _index, _timestep, tensors):
        trace.append(tensors["latents"].clone())
        return {}

    handles = [
        pipe.vae.decoder.register_forward_hook(lambda _module, _inputs, output: decoded.append(output)),
        pipe.vae.quant_conv.register_forward_hook(lambda _module, _inputs, output: encoded.append(output)),
        pipe.image_encoder.register_forward_hook(lambda _module, _inputs, output: embedded.append(output.image_embeds)),
    ]
    frames = pipe(
        picture, width=width, height=height, num_frames=case["frames"], num_inference_steps=case["steps"],
        min_guidance_scale=case["min_guidance"], max_guidance_scale=case["max_guidance"], fps=case["fps"],
        motion_bucket_id=case["motion_bucket"], noise_aug_strength=case["noise_aug"], decode_chunk_size=case["chunk"],
        generator=torch.Generator("cpu").manual_seed(case["seed"]), callback_on_step_end=after_step, output_type="pil",
    ).frames[0]
    for handle in handles:
        handle.remove()
    return {
        "embedding": embedded[0], "image_latents": encoded[0].chunk(2, dim=1)[0], "first_latents": trace[0][0],
        "latents": trace[-1][0], "decoded": torch.cat(decoded), "frames": torch.from_numpy(np.stack([np.array(one) for one in frames])),
    }


def generate(root: Path) -> None:
    checkpoints, directory = root / "svd_checkpoints", root / "svd_pipeline"
    shutil.rmtree(checkpoints, ignore_errors=True)
    directory.mkdir(parents=True, exist_ok=True)
    pictures, pipelines = {}, {}
    for name, size in INIT_SIZES.items():
        pictures[name] = init_image(size)
        pictures[name].save(directory / f"init_{name}.png", optimize=True)
    for name in CHECKPOINTS:
        checkpoint = Checkpoint(name)
        checkpoint.write(checkpoints / name)
        pipelines[name] = checkpoint.pipeline()
    for name, asked in CASES.items():
        case = {**DEFAULTS, **asked}
        keep_float = case.pop("float", False)
        pipe = pipelines[case["checkpoint"]]
        result = rendered(pipe, case, pictures[case["init"]])
        refuse_degenerate(name, result["frames"], LEAST_DEVIATION)
        if not keep_float:
            del result["decoded"]
        width, height = case.pop("size")
        frames = case["frames"] or pipe.unet.config.num_frames
        write_case(directory, name, {
            **case, "frames": frames, "chunk": case["chunk"] or frames, "seed": str(case["seed"]), "width": width, "height": height,
            "init": f"init_{case['init']}.png",
        }, result)
