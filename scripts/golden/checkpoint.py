"""Tiny members of the SDXL architecture, in the published folder layout, with weights from the formula."""

import json
from pathlib import Path

from diffusers import AutoencoderKL, UNet2DConditionModel
from transformers import CLIPTextModel, CLIPTextModelWithProjection

import tokenizer
import unet
import vae
from fixture import write_json, write_manifest
from scheduler import PUBLISHED
from text_encoder import LEGACY_EOS, config_json, text_config
from weights import fill, manifest

TEXT = {"hidden_size": 32, "intermediate_size": 37, "num_attention_heads": 4, "num_hidden_layers": 5,
        "projection_dim": 32, "eos_token_id": LEGACY_EOS}
NARROW = {"hidden_size": 24, "intermediate_size": 40, "num_attention_heads": 3, "num_hidden_layers": 3,
          "projection_dim": 24, "eos_token_id": LEGACY_EOS}
WIDE = {"hidden_size": 40, "intermediate_size": 56, "num_attention_heads": 5, "num_hidden_layers": 4,
        "projection_dim": 24, "eos_token_id": "end"}
SMALL_UNET = {
    **unet.TWO_LEVEL, "block_out_channels": [8, 16], "layers_per_block": 1, "norm_num_groups": 4,
    "attention_head_dim": [1, 2], "transformer_layers_per_block": 1, "cross_attention_dim": 32,
    "projection_class_embeddings_input_dim": 64,
}
SMALL_TEXT = {"hidden_size": 16, "intermediate_size": 24, "num_attention_heads": 2, "num_hidden_layers": 2,
              "projection_dim": 16, "eos_token_id": LEGACY_EOS}

CHECKPOINTS = {
    "two_level": {
        "unet": unet.TWO_LEVEL, "vae": vae.TWO_LEVEL,
        "text_encoder": {**TEXT, "hidden_act": "quick_gelu"}, "text_encoder_2": {**TEXT, "hidden_act": "gelu"},
        "scheduler": PUBLISHED, "force_zeros": True},
    "three_level": {
        "unet": unet.THREE_LEVEL, "vae": vae.FOUR_LEVEL, "stored": "f16",
        "text_encoder": {**TEXT, "hidden_act": "quick_gelu"}, "text_encoder_2": {**TEXT, "hidden_act": "gelu"},
        "scheduler": PUBLISHED, "force_zeros": True},
    "zero_snr": {
        "unet": {**unet.TWO_LEVEL, "layers_per_block": 1, "projection_class_embeddings_input_dim": 72}, "vae": vae.TWO_LEVEL,
        "text_encoder": {**NARROW, "hidden_act": "quick_gelu"}, "text_encoder_2": {**WIDE, "hidden_act": "gelu"},
        "scheduler": {
            "_class_name": "EulerDiscreteScheduler", "beta_end": 0.012, "beta_schedule": "scaled_linear", "beta_start": 0.00085,
            "num_train_timesteps": 1000, "prediction_type": "v_prediction", "rescale_betas_zero_snr": True,
            "steps_offset": 1, "timestep_spacing": "trailing"},
        "force_zeros": True},
    "conv_projection": {
        "unet": {**unet.TWO_LEVEL, "use_linear_projection": False, "layers_per_block": 1, "norm_num_groups": 16},
        "vae": {**vae.TWO_LEVEL, "layers_per_block": 2, "norm_num_groups": 16},
        "text_encoder": {**TEXT, "hidden_act": "gelu"}, "text_encoder_2": {**TEXT, "hidden_act": "quick_gelu"},
        "scheduler": {
            "_class_name": "EulerAncestralDiscreteScheduler", "beta_end": 0.012, "beta_schedule": "scaled_linear",
            "beta_start": 0.00085, "clip_sample": False, "num_train_timesteps": 1000, "prediction_type": "epsilon",
            "set_alpha_to_one": False, "steps_offset": 1, "timestep_spacing": "trailing"},
        "force_zeros": False},
    "inpainting": {
        "unet": {**unet.TWO_LEVEL, "in_channels": 9, "layers_per_block": 1}, "vae": vae.TWO_LEVEL,
        "text_encoder": {**TEXT, "hidden_act": "quick_gelu"}, "text_encoder_2": {**TEXT, "hidden_act": "gelu"},
        "scheduler": PUBLISHED, "force_zeros": True, "pipeline": "StableDiffusionXLInpaintPipeline"},
    "saved": {
        "unet": SMALL_UNET,
        "vae": {**vae.TWO_LEVEL, "block_out_channels": [8, 16], "norm_num_groups": 4},
        "text_encoder": {**SMALL_TEXT, "hidden_act": "quick_gelu"}, "text_encoder_2": {**SMALL_TEXT, "hidden_act": "gelu"},
        "scheduler": PUBLISHED, "stored": "f16", "force_zeros": True},
}
MODEL_INDEX = {
    "_class_name": "StableDiffusionXLPipeline", "_diffusers_version": "0.19.0.dev0",
    "scheduler": ["diffusers", "EulerDiscreteScheduler"], "text_encoder": ["transformers", "CLIPTextModel"],
    "text_encoder_2": ["transformers", "CLIPTextModelWithProjection"], "tokenizer": ["transformers", "CLIPTokenizer"],
    "tokenizer_2": ["transformers", "CLIPTokenizer"], "unet": ["diffusers", "UNet2DConditionModel"],
    "vae": ["diffusers", "AutoencoderKL"],
}


class Checkpoint:
    """The networks of one checkpoint, built and filled."""

    def __init__(self, root: Path, name: str):
        definition = CHECKPOINTS[name]
        self.name = name
        self.scheduler = definition["scheduler"]
        self.force_zeros = definition["force_zeros"]
        self.pipeline = definition.get("pipeline", MODEL_INDEX["_class_name"])
        self.stored = definition.get("stored", "f32")
        self.tokenizer = tokenizer.load(root, tokenizer.PAD_WITH_END)
        self.tokenizer_2 = tokenizer.load(root, tokenizer.PAD_WITH_MARK)
        self.networks = {
            "unet": UNet2DConditionModel(**definition["unet"]),
            "vae": AutoencoderKL(**definition["vae"]),
            "text_encoder": CLIPTextModel(self.text_config(definition["text_encoder"])),
            "text_encoder_2": CLIPTextModelWithProjection(self.text_config(definition["text_encoder_2"])),
        }
        for component, network in self.networks.items():
            fill(network, self.salt(component), self.stored)

    def salt(self, component: str) -> str:
        """Sets apart components and checkpoints: the text encoders of one checkpoint share every name."""
        return f"{self.name}/{component}/"

    def text_config(self, settings: dict):
        eos = self.tokenizer.eos_token_id if settings["eos_token_id"] == "end" else settings["eos_token_id"]
        return text_config({**settings, "eos_token_id": eos}, len(self.tokenizer))

    def model_index(self) -> dict:
        index = {**MODEL_INDEX, "_class_name": self.pipeline, "force_zeros_for_empty_prompt": self.force_zeros}
        return {**index, "scheduler": ["diffusers", self.scheduler["_class_name"]]}

    def write(self, directory: Path) -> None:
        """Everything of the published layout but the weights and the tokenizers, and a manifest of the weights."""
        write_json(directory / "model_index.json", self.model_index())
        write_json(directory / "scheduler" / "scheduler_config.json", self.scheduler)
        for component, network in self.networks.items():
            text = component.startswith("text_encoder")
            config = ({"architectures": [type(network).__name__], **config_json(network.config)} if text
                      else json.loads(network.to_json_string()))
            write_json(directory / component / "config.json", config)
            write_manifest(directory / component / "tensors.tsv", manifest(network))
        write_json(directory / "golden.json", {
            "name": self.name, "stored": self.stored,
            "salts": {component: self.salt(component) for component in self.networks},
            "tokenizers": {"tokenizer": "tokenizers/tokenizer", "tokenizer_2": "tokenizers/tokenizer_2"},
        })


def generate(root: Path) -> None:
    for name in CHECKPOINTS:
        if name != "saved":  # that one is written by diffusers itself
            Checkpoint(root, name).write(root / "checkpoints" / name)
