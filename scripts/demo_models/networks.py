"""The sizes of every network of the demo model, in one place.

The pipeline is a true SDXL: the same classes, the same wiring, every width shrunk.
"""

import torch
from diffusers import AutoencoderKL, EulerDiscreteScheduler, UNet2DConditionModel
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection

from .pictures import SIDE

LATENT_SCALE = 8
LATENT_SIDE = SIDE // LATENT_SCALE
LATENT_CHANNELS = 4
CONTEXT_LENGTH = 77
TEXT_WIDTH = 64
POOLED_WIDTH = 64
TIME_IDS = (SIDE, SIDE, 0, 0, SIDE, SIDE)
TIME_ID_WIDTH = 16


def build_autoencoder():
    """Eight groups, not sixteen: with one channel a group the absolute level of a flat colour would be lost."""
    return AutoencoderKL(
        in_channels=3,
        out_channels=3,
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        block_out_channels=(16, 32, 48, 64),
        layers_per_block=1,
        latent_channels=LATENT_CHANNELS,
        norm_num_groups=8,
        act_fn="silu",
        sample_size=SIDE,
        scaling_factor=1.0,
        force_upcast=True,
    )


def build_unet():
    """Two and three heads of 64 channels: the published model's head width."""
    return UNet2DConditionModel(
        sample_size=LATENT_SIDE,
        in_channels=LATENT_CHANNELS,
        out_channels=LATENT_CHANNELS,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
        block_out_channels=(64, 128, 192),
        layers_per_block=1,
        transformer_layers_per_block=[1, 1, 2],
        attention_head_dim=[1, 2, 3],
        norm_num_groups=32,
        cross_attention_dim=2 * TEXT_WIDTH,
        use_linear_projection=True,
        addition_embed_type="text_time",
        addition_time_embed_dim=TIME_ID_WIDTH,
        projection_class_embeddings_input_dim=POOLED_WIDTH + len(TIME_IDS) * TIME_ID_WIDTH,
    )


def text_configuration(tokenizer, activation):
    """The token ids are stated truly; the published model carries wrong ones for old times' sake."""
    return CLIPTextConfig(
        vocab_size=len(tokenizer),
        hidden_size=TEXT_WIDTH,
        intermediate_size=4 * TEXT_WIDTH,
        projection_dim=POOLED_WIDTH,
        num_hidden_layers=3,
        num_attention_heads=2,
        max_position_embeddings=CONTEXT_LENGTH,
        hidden_act=activation,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )


def build_text_encoders(tokenizer, tokenizer_2):
    first = CLIPTextModel(text_configuration(tokenizer, "quick_gelu"))
    second = CLIPTextModelWithProjection(text_configuration(tokenizer_2, "gelu"))
    return first, second


def build_scheduler():
    return EulerDiscreteScheduler(
        num_train_timesteps=1000,
        beta_start=0.00085,
        beta_end=0.012,
        beta_schedule="scaled_linear",
        prediction_type="epsilon",
        timestep_spacing="trailing",
        steps_offset=1,
        interpolation_type="linear",
    )


def signal_shares():
    """The cumulative products of 1 - beta that noising during training uses."""
    return build_scheduler().alphas_cumprod.to(torch.float32)
