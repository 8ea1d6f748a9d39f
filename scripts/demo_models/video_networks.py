"""The sizes of every network of the demo video model, in one place.

The pipeline is a true Stable Video Diffusion: the same classes, the same wiring, every
width shrunk as far as its groups of 32 allow.
"""

from diffusers import AutoencoderKLTemporalDecoder, EulerDiscreteScheduler, UNetSpatioTemporalConditionModel
from transformers import CLIPImageProcessor, CLIPVisionConfig, CLIPVisionModelWithProjection

from .networks import LATENT_CHANNELS, LATENT_SIDE
from .pictures import SIDE

FRAMES = 14
"""Frames of a clip, as in the first published model."""

CONTEXT_WIDTH = 64
ADDED_ID_WIDTH = 32
VISION_SIDE = 224
"""The published pipeline resizes to this whatever the encoder's configuration says."""

VISION_PATCH = 32
VISION_MEAN = [0.48145466, 0.4578275, 0.40821073]
VISION_DEVIATION = [0.26862954, 0.26130258, 0.27577711]


def build_video_autoencoder(scaling_factor):
    """Two channels a group at the outermost level: with one the absolute level of a flat colour would be lost."""
    return AutoencoderKLTemporalDecoder(
        in_channels=3,
        out_channels=3,
        down_block_types=("DownEncoderBlock2D",) * 4,
        block_out_channels=(64, 64, 96, 96),
        layers_per_block=1,
        latent_channels=LATENT_CHANNELS,
        sample_size=SIDE,
        scaling_factor=scaling_factor,
        force_upcast=True,
    )


def build_video_unet():
    """Attention at the middle level and in the middle block; the outer level has most of the cost and little to decide."""
    return UNetSpatioTemporalConditionModel(
        sample_size=LATENT_SIDE,
        in_channels=2 * LATENT_CHANNELS,
        out_channels=LATENT_CHANNELS,
        down_block_types=("DownBlockSpatioTemporal", "CrossAttnDownBlockSpatioTemporal", "DownBlockSpatioTemporal"),
        up_block_types=("UpBlockSpatioTemporal", "CrossAttnUpBlockSpatioTemporal", "UpBlockSpatioTemporal"),
        block_out_channels=(64, 96, 96),
        layers_per_block=1,
        num_attention_heads=(2, 3, 3),
        cross_attention_dim=CONTEXT_WIDTH,
        addition_time_embed_dim=ADDED_ID_WIDTH,
        projection_class_embeddings_input_dim=3 * ADDED_ID_WIDTH,
        num_frames=FRAMES,
    )


def build_image_encoder():
    """Patches of 32 pixels: 49 tokens and the one that gathers them."""
    return CLIPVisionModelWithProjection(CLIPVisionConfig(
        hidden_size=64,
        intermediate_size=256,
        projection_dim=CONTEXT_WIDTH,
        num_hidden_layers=2,
        num_attention_heads=2,
        image_size=VISION_SIDE,
        patch_size=VISION_PATCH,
        hidden_act="gelu",
    ))


def build_feature_extractor():
    return CLIPImageProcessor(
        size={"shortest_edge": VISION_SIDE},
        crop_size={"height": VISION_SIDE, "width": VISION_SIDE},
        image_mean=VISION_MEAN,
        image_std=VISION_DEVIATION,
    )


def build_video_scheduler():
    """Exactly the published configuration."""
    return EulerDiscreteScheduler(
        num_train_timesteps=1000,
        beta_start=0.00085,
        beta_end=0.012,
        beta_schedule="scaled_linear",
        prediction_type="v_prediction",
        interpolation_type="linear",
        use_karras_sigmas=True,
        sigma_min=0.002,
        sigma_max=700.0,
        timestep_spacing="leading",
        timestep_type="continuous",
        steps_offset=1,
    )
