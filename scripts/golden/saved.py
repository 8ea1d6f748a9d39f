"""One checkpoint written by `save_pretrained`, so that the loader meets files it had no part in making.

Half precision, the `.fp16` variant, the UNet in shards with an index: what people really download.
"""

import json
import shutil
from pathlib import Path

import torch
from diffusers import DiffusionPipeline, EulerDiscreteScheduler, StableDiffusionXLPipeline

from checkpoint import Checkpoint
from fixture import write_json
from scheduler import PUBLISHED

SHARD = "110KB"  # makes two of the UNet and leaves the others whole


def generate(root: Path) -> None:
    checkpoint = Checkpoint(root, "saved")
    pipeline = StableDiffusionXLPipeline(
        scheduler=EulerDiscreteScheduler.from_config(PUBLISHED), tokenizer=checkpoint.tokenizer,
        tokenizer_2=checkpoint.tokenizer_2, **{name: network.half() for name, network in checkpoint.networks.items()},
        force_zeros_for_empty_prompt=checkpoint.force_zeros, add_watermarker=False,
    )
    directory = root / "saved"
    shutil.rmtree(directory, ignore_errors=True)
    pipeline.save_pretrained(directory, variant="fp16", safe_serialization=True, max_shard_size=SHARD)
    for path in directory.rglob("*"):
        if path.is_file():
            path.chmod(0o644)
    forget_where_it_was_made(directory)
    write_json(directory / "golden.json", {
        "name": "saved", "stored": checkpoint.stored,
        "salts": {component: checkpoint.salt(component) for component in checkpoint.networks},
    })


def forget_where_it_was_made(directory: Path) -> None:
    """The libraries note the folder a component came from, which would differ on every machine."""
    for path in directory.rglob("*.json"):
        value = json.loads(path.read_text(encoding="utf-8"))
        if isinstance(value, dict) and value.pop("_name_or_path", None) is not None:
            path.write_text(json.dumps(value, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def load(root: Path) -> StableDiffusionXLPipeline:
    """The saved checkpoint as a user would load it, in f32."""
    return DiffusionPipeline.from_pretrained(
        root / "saved", variant="fp16", dtype=torch.float32, use_safetensors=True, add_watermarker=False
    )
