"""UNet2DConditionModel: one evaluation for each shape of configuration that checkpoints come in."""

import json
from pathlib import Path

import torch
from diffusers import UNet2DConditionModel

from fixture import write_case
from weights import fill, input_tensor, parameter_count

TWO_LEVEL = {
    "block_out_channels": [32, 64], "layers_per_block": 2, "sample_size": 32, "in_channels": 4, "out_channels": 4,
    "down_block_types": ["DownBlock2D", "CrossAttnDownBlock2D"], "up_block_types": ["CrossAttnUpBlock2D", "UpBlock2D"],
    "attention_head_dim": [2, 4], "use_linear_projection": True, "addition_embed_type": "text_time",
    "addition_time_embed_dim": 8, "transformer_layers_per_block": [1, 2],
    "projection_class_embeddings_input_dim": 80, "cross_attention_dim": 64,
}
THREE_LEVEL = {
    **TWO_LEVEL, "block_out_channels": [32, 64, 96], "layers_per_block": 1, "attention_head_dim": [2, 4, 6],
    "down_block_types": ["DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"],
    "up_block_types": ["CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"],
    "transformer_layers_per_block": [1, 2, 3], "norm_num_groups": 16,
}

# height and width are the latent's. A size that does not divide by 2^(levels - 1) takes the upsample-to-size path.
CASES = {
    "two_level": {"config": TWO_LEVEL, "batch": 2, "size": (8, 12), "tokens": 77, "timesteps": [981.0, 21.0]},
    "three_level": {"config": THREE_LEVEL, "batch": 1, "size": (8, 12), "tokens": 154, "timesteps": [501.0]},
    "odd_size": {
        "config": {**THREE_LEVEL, "layers_per_block": 2, "transformer_layers_per_block": [1, 1, 2]},
        "batch": 2, "size": (9, 13), "tokens": 77, "timesteps": [934.0696, 0.0]},
    "conv_projection": {
        "config": {**TWO_LEVEL, "use_linear_projection": False, "layers_per_block": 1, "norm_eps": 1e-4},
        "batch": 1, "size": (6, 10), "tokens": 77, "timesteps": [250.5]},
    "inpaint": {
        "config": {**TWO_LEVEL, "in_channels": 9, "layers_per_block": 1, "norm_num_groups": 8, "attention_head_dim": 4,
                   "transformer_layers_per_block": 1,
                   "down_block_types": ["CrossAttnDownBlock2D", "DownBlock2D"],
                   "up_block_types": ["UpBlock2D", "CrossAttnUpBlock2D"]},
        "batch": 2, "size": (8, 8), "tokens": 77, "timesteps": [999.0, 1.0]},
    "residuals": {
        "config": TWO_LEVEL, "batch": 2, "size": (8, 12), "tokens": 77, "timesteps": [981.0, 21.0], "residuals": True},
}
TIME_IDS = [[1024.0, 768.0, 0.0, 16.0, 512.0, 640.0], [64.0, 96.0, 8.0, 0.0, 4096.0, 96.0]]
KEPT_CHANNELS = 4


def config_json(model: UNet2DConditionModel) -> dict:
    """The configuration exactly as `save_config` writes it."""
    return json.loads(model.to_json_string())


def inputs(case: dict) -> dict[str, torch.Tensor]:
    """Rows differ in everything: a row's timestep, pooled vector and sizes must not leak into its batch mate."""
    config, batch, (height, width) = case["config"], case["batch"], case["size"]
    pooled = config["projection_class_embeddings_input_dim"] - 6 * config["addition_time_embed_dim"]
    shapes = {
        "sample": (batch, config["in_channels"], height, width),
        "context": (batch, case["tokens"], config["cross_attention_dim"]),
        "pooled": (batch, pooled),
    }
    return {name: input_tensor("input." + name, shape) for name, shape in shapes.items()}


def skip_shapes(config: dict, batch: int, height: int, width: int) -> list[tuple[int, ...]]:
    """Shapes on the skip stack, in the order in which a ControlNet delivers its residuals."""
    channels, layers = config["block_out_channels"], config["layers_per_block"]
    shapes = [(batch, channels[0], height, width)]
    for level, width_of_level in enumerate(channels):
        shapes += [(batch, width_of_level, height, width)] * layers
        if level + 1 < len(channels):
            height, width = (height + 1) // 2, (width + 1) // 2
            shapes.append((batch, width_of_level, height, width))
    return shapes


def residuals(case: dict) -> dict:
    """What a ControlNet would add to the skips and to the middle."""
    shapes = skip_shapes(case["config"], case["batch"], *case["size"])
    return {
        "down_block_additional_residuals": [input_tensor(f"input.residual.{i}", shape) for i, shape in enumerate(shapes)],
        "mid_block_additional_residual": input_tensor("input.residual.mid", shapes[-1]),
    }


def watched(model: UNet2DConditionModel, seen: dict[str, torch.Tensor]) -> list:
    """Hooks that keep the first channels of the values a first implementation gets wrong."""

    def keep(name):
        def hook(_module, _inputs, output):
            value = output[0] if isinstance(output, tuple) else output
            seen[name] = value if value.dim() == 2 else value[:, :KEPT_CHANNELS]
        return hook

    modules = {"time_embedding": model.time_embedding, "add_embedding": model.add_embedding, "conv_in": model.conv_in,
               "mid_block": model.mid_block}
    modules |= {f"down_blocks.{index}": block for index, block in enumerate(model.down_blocks)}
    modules |= {f"up_blocks.{index}": block for index, block in enumerate(model.up_blocks)}
    return [module.register_forward_hook(keep(name)) for name, module in modules.items()]


@torch.no_grad()
def generate(root: Path) -> None:
    for name, case in CASES.items():
        model = fill(UNet2DConditionModel(**case["config"]))
        given, seen = inputs(case), {}
        extra = residuals(case) if case.get("residuals") else {}
        hooks = watched(model, seen)
        time_ids = TIME_IDS[: case["batch"]]
        out = model(
            given["sample"], torch.tensor(case["timesteps"]), encoder_hidden_states=given["context"],
            added_cond_kwargs={"text_embeds": given["pooled"], "time_ids": torch.tensor(time_ids)}, **extra,
        ).sample
        for hook in hooks:
            hook.remove()
        shapes = {"input." + key: list(value.shape) for key, value in given.items()}
        for index, value in enumerate(extra.get("down_block_additional_residuals", [])):
            shapes[f"input.residual.{index}"] = list(value.shape)
        if extra:
            shapes["input.residual.mid"] = list(extra["mid_block_additional_residual"].shape)
        write_case(root / "unet", name, {
            "config": config_json(model), "salt": "", "parameters": parameter_count(model), "inputs": shapes,
            "timesteps": case["timesteps"], "time_ids": time_ids,
            "outputs": f"sample in full; of 4-D intermediates the first {KEPT_CHANNELS} channels, as they leave the module",
        }, {"sample": out, **seen})
