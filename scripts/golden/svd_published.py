"""SVD-XT as published: its configurations, and the name and shape of every tensor, without a single weight."""

from pathlib import Path

import torch
from diffusers import AutoencoderKLTemporalDecoder, UNetSpatioTemporalConditionModel
from transformers import CLIPVisionConfig, CLIPVisionModelWithProjection

from fixture import write_json, write_manifest
from svd_scheduler import PUBLISHED
from weights import manifest

UNET = {
    "_class_name": "UNetSpatioTemporalConditionModel", "addition_time_embed_dim": 256,
    "block_out_channels": [320, 640, 1280, 1280], "cross_attention_dim": 1024,
    "down_block_types": ["CrossAttnDownBlockSpatioTemporal"] * 3 + ["DownBlockSpatioTemporal"], "in_channels": 8,
    "layers_per_block": 2, "num_attention_heads": [5, 10, 20, 20], "num_frames": 25, "out_channels": 4,
    "projection_class_embeddings_input_dim": 768, "sample_size": 96, "transformer_layers_per_block": 1,
    "up_block_types": ["UpBlockSpatioTemporal"] + ["CrossAttnUpBlockSpatioTemporal"] * 3,
}
VAE = {
    "_class_name": "AutoencoderKLTemporalDecoder", "block_out_channels": [128, 256, 512, 512],
    "down_block_types": ["DownEncoderBlock2D"] * 4, "force_upcast": True, "in_channels": 3, "latent_channels": 4,
    "layers_per_block": 2, "out_channels": 3, "sample_size": 768, "scaling_factor": 0.18215,
}
IMAGE_ENCODER = {
    "architectures": ["CLIPVisionModelWithProjection"], "attention_dropout": 0.0, "dropout": 0.0, "hidden_act": "gelu",
    "hidden_size": 1280, "image_size": 224, "initializer_factor": 1.0, "initializer_range": 0.02, "intermediate_size": 5120,
    "layer_norm_eps": 1e-05, "model_type": "clip_vision_model", "num_attention_heads": 16, "num_channels": 3,
    "num_hidden_layers": 32, "patch_size": 14, "projection_dim": 1024,
}
CONFIGS = {"unet": UNET, "vae": VAE, "image_encoder": IMAGE_ENCODER}
# Parameters of the published files, a check on the configurations above.
PARAMETERS = {"unet": 1_524_623_082, "vae": 97_742_847, "image_encoder": 632_076_800}


def skeleton(component: str) -> torch.nn.Module:
    """The network with shapes and no storage."""
    config = {key: value for key, value in CONFIGS[component].items() if key not in ("_class_name", "architectures", "model_type")}
    with torch.device("meta"):
        if component == "unet":
            return UNetSpatioTemporalConditionModel(**config)
        if component == "vae":
            return AutoencoderKLTemporalDecoder(**config)
        return CLIPVisionModelWithProjection(CLIPVisionConfig(**config))


def generate(root: Path) -> None:
    directory = root / "svd_published"
    for component, config in CONFIGS.items():
        tensors = manifest(skeleton(component))
        count = sum(torch.Size(shape).numel() for _, shape in tensors)
        if count != PARAMETERS[component]:
            raise ValueError(f"{component} has {count} parameters, published are {PARAMETERS[component]}")
        write_json(directory / f"{component}.json", config)
        write_manifest(directory / f"{component}.tsv", tensors)
    write_json(directory / "scheduler.json", PUBLISHED)
