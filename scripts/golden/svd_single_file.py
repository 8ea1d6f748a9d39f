"""Stable Video Diffusion in one file: which name and form the authors' file has for each tensor of diffusers.

The rules run from diffusers to the file, the engine's from the file to diffusers; the fixtures hold both to each other.
"""

import json
import re
from pathlib import Path

import torch
from diffusers import AutoencoderKLTemporalDecoder, UNetSpatioTemporalConditionModel
from transformers import CLIPVisionConfig, CLIPVisionModelWithProjection

import svd_published
from fixture import write_json
from weights import manifest

RESNET = {"norm1": "in_layers.0", "conv1": "in_layers.2", "time_emb_proj": "emb_layers.1", "norm2": "out_layers.0",
          "conv2": "out_layers.3", "conv_shortcut": "skip_connection"}
UNET_TOP = {"conv_in": "input_blocks.0.0", "time_embedding.linear_1": "time_embed.0", "time_embedding.linear_2": "time_embed.2",
            "add_embedding.linear_1": "label_emb.0.0", "add_embedding.linear_2": "label_emb.0.2", "conv_norm_out": "out.0",
            "conv_out": "out.2"}
VAE_ATTENTION = {"group_norm": "norm", "to_q": "q", "to_k": "k", "to_v": "v", "to_out.0": "proj_out"}
VAE_TOP = {"conv_in": "conv_in", "conv_norm_out": "norm_out", "conv_out": "conv_out", "time_conv_out": "conv_out.time_mix_conv"}
CLIP_LAYER = {"layer_norm1": "ln_1", "layer_norm2": "ln_2", "self_attn.out_proj": "attn.out_proj", "mlp.fc1": "mlp.c_fc",
              "mlp.fc2": "mlp.c_proj"}
CLIP_TOP = {"vision_model.embeddings.class_embedding": "class_embedding",
            "vision_model.embeddings.patch_embedding.weight": "conv1.weight",
            "vision_model.embeddings.position_embedding.weight": "positional_embedding",
            "vision_model.pre_layrnorm.weight": "ln_pre.weight", "vision_model.pre_layrnorm.bias": "ln_pre.bias",
            "vision_model.post_layernorm.weight": "ln_post.weight", "vision_model.post_layernorm.bias": "ln_post.bias",
            "visual_projection.weight": "proj[T]"}

# Heads of 64 channels, and of 80 in the image encoder: what is not in shapes is as published.
TINY = {
    "unet": {
        "block_out_channels": [64, 128], "layers_per_block": 1, "sample_size": 96, "in_channels": 8, "out_channels": 4,
        "down_block_types": ["CrossAttnDownBlockSpatioTemporal", "DownBlockSpatioTemporal"],
        "up_block_types": ["UpBlockSpatioTemporal", "CrossAttnUpBlockSpatioTemporal"], "cross_attention_dim": 24,
        "num_attention_heads": [1, 2], "projection_class_embeddings_input_dim": 48, "addition_time_embed_dim": 16,
        "transformer_layers_per_block": 1, "num_frames": 14},
    "vae": {
        "block_out_channels": [32, 64], "layers_per_block": 2, "in_channels": 3, "out_channels": 3, "latent_channels": 4,
        "down_block_types": ["DownEncoderBlock2D"] * 2, "sample_size": 768, "scaling_factor": 0.18215, "force_upcast": True},
    "image_encoder": {
        "hidden_size": 80, "intermediate_size": 96, "num_attention_heads": 1, "num_hidden_layers": 2, "hidden_act": "gelu",
        "image_size": 28, "patch_size": 7, "projection_dim": 24, "layer_norm_eps": 1e-5},
}


def parameter(rest: str, table: dict[str, str]) -> str:
    """`layer.weight` with the layer's other name."""
    layer, name = rest.rsplit(".", 1)
    return f"{table[layer]}.{name}"


def unet_resnets(rest: str) -> str:
    part, inner = rest.split(".", 1)
    if part == "time_mixer":
        return rest
    return ("time_stack." if part == "temporal_res_block" else "") + parameter(inner, RESNET)


def unet_attention(rest: str) -> str:
    rest = rest.replace("temporal_transformer_blocks.", "time_stack.")
    return rest.replace("time_pos_embed.linear_1", "time_pos_embed.0").replace("time_pos_embed.linear_2", "time_pos_embed.2")


def unet_name(name: str, config: dict) -> str:
    layers = config["layers_per_block"]
    prefix = "model.diffusion_model."
    match = re.fullmatch(r"(down|up)_blocks\.(\d+)\.(resnets|attentions|downsamplers|upsamplers)\.(\d+)\.(.*)", name)
    if match:
        side, block, part, layer, rest = match[1], int(match[2]), match[3], int(match[4]), match[5]
        first = block * (layers + 1) + (1 if side == "down" else 0)
        blocks = "input_blocks" if side == "down" else "output_blocks"
        if part == "downsamplers":
            return f"{prefix}{blocks}.{first + layers}.0.op.{rest.removeprefix('conv.')}"
        if part == "upsamplers":
            place = 2 if config["up_block_types"][block].startswith("CrossAttn") else 1
            return f"{prefix}{blocks}.{first + layers}.{place}.{rest}"
        inner = f"0.{unet_resnets(rest)}" if part == "resnets" else f"1.{unet_attention(rest)}"
        return f"{prefix}{blocks}.{first + layer}.{inner}"
    match = re.fullmatch(r"mid_block\.(resnets|attentions)\.(\d+)\.(.*)", name)
    if match:
        if match[1] == "attentions":
            return f"{prefix}middle_block.1.{unet_attention(match[3])}"
        return f"{prefix}middle_block.{2 * int(match[2])}.{unet_resnets(match[3])}"
    return prefix + parameter(name, UNET_TOP)


def vae_resnet(rest: str) -> str:
    if rest == "time_mixer.mix_factor":
        return "mix_factor"
    if rest.startswith("temporal_res_block."):
        return "time_stack." + parameter(rest.removeprefix("temporal_res_block."), RESNET)
    return rest.removeprefix("spatial_res_block.").replace("conv_shortcut", "nin_shortcut")


def vae_name(name: str, config: dict) -> str:
    if name.startswith("quant_conv."):
        return "conditioner.embedders.3.encoder." + name
    half, rest = name.split(".", 1)
    prefix = "conditioner.embedders.3.encoder.encoder." if half == "encoder" else "first_stage_model.decoder."
    last = len(config["block_out_channels"]) - 1
    match = re.fullmatch(r"(?:down|up)_blocks\.(\d+)\.(resnets|downsamplers|upsamplers)\.(\d+)\.(.*)", rest)
    if match:
        level = int(match[1]) if half == "encoder" else last - int(match[1])
        part, layer, inner = match[2], match[3], match[4]
        inner = f"block.{layer}.{vae_resnet(inner)}" if part == "resnets" else f"{part.removesuffix('rs')}.{inner}"
        return f"{prefix}{'down' if half == 'encoder' else 'up'}.{level}.{inner}"
    match = re.fullmatch(r"mid_block\.(resnets|attentions)\.(\d+)\.(.*)", rest)
    if match:
        if match[1] == "attentions":
            return f"{prefix}mid.attn_1.{parameter(match[3], VAE_ATTENTION)}"
        return f"{prefix}mid.block_{int(match[2]) + 1}.{vae_resnet(match[3])}"
    return prefix + parameter(rest, VAE_TOP)


def image_encoder_name(name: str) -> str:
    prefix = "conditioner.embedders.0.open_clip.model.visual."
    match = re.fullmatch(r"vision_model\.encoder\.layers\.(\d+)\.(.*)", name)
    if not match:
        return prefix + CLIP_TOP[name]
    layer, rest = f"{prefix}transformer.resblocks.{match[1]}.", match[2]
    joined = re.fullmatch(r"self_attn\.([qkv])_proj\.(weight|bias)", rest)
    return layer + (f"attn.in_proj_{joined[2]}[{joined[1]}]" if joined else parameter(rest, CLIP_LAYER))


def skeleton(component: str, config: dict) -> torch.nn.Module:
    """The network with shapes and no storage."""
    with torch.device("meta"):
        if component == "unet":
            return UNetSpatioTemporalConditionModel(**config)
        if component == "vae":
            return AutoencoderKLTemporalDecoder(**config)
        return CLIPVisionModelWithProjection(CLIPVisionConfig(**config))


def stored_names(component: str, config: dict, module: torch.nn.Module) -> list[tuple[str, str, tuple[int, ...]]]:
    names = {"unet": lambda name: unet_name(name, config), "vae": lambda name: vae_name(name, config),
             "image_encoder": image_encoder_name}[component]
    return [(name, names(name), shape) for name, shape in manifest(module)]


def write_names(path: Path, rows: list[tuple[str, str, str, tuple[int, ...]]]) -> None:
    """One line a tensor: component, diffusers' name, the file's name, diffusers' dimensions joined by `x`."""
    lines = [f"{component}\t{name}\t{stored}\t{'x'.join(map(str, shape))}" for component, name, stored, shape in rows]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


def generate(root: Path) -> None:
    directory = root / "svd_single_file"
    published = [
        (component, *row)
        for component, config in svd_published.CONFIGS.items()
        for row in stored_names(component, config, svd_published.skeleton(component))
    ]
    write_names(directory / "published.tsv", published)
    rows = []
    configs = {}
    for component, config in TINY.items():
        module = skeleton(component, config)
        rows += [(component, *row) for row in stored_names(component, config, module)]
        clip = {"model_type": "clip_vision_model", "num_channels": 3, **config}
        configs[component] = clip if component == "image_encoder" else json.loads(module.to_json_string())
    write_names(directory / "tiny.tsv", rows)
    write_json(directory / "tiny.json", configs)
