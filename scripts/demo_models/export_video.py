"""Writes the trained networks as a published Stable Video Diffusion model would be laid out."""

import json
import shutil
import tempfile
from pathlib import Path

import torch
from diffusers import StableVideoDiffusionPipeline
from safetensors.torch import load_file, save_file

from . import train_video_unet, train_video_vae
from .export import report_sizes
from .video_networks import VISION_DEVIATION, VISION_MEAN, VISION_SIDE, build_feature_extractor, build_video_scheduler

DEFAULTS = {
    "default_steps": 8,
    "default_fps": 7,
    "default_motion_bucket_id": 60,
    "default_min_guidance_scale": 1.0,
    "default_max_guidance_scale": 1.0,
}
"""What the server uses when a request leaves them out; the first frame decides all here, so that guidance would only cost time."""

CARD = Path(__file__).with_name("video_model_card.md")

PREPROCESSOR = {
    "crop_size": {"height": VISION_SIDE, "width": VISION_SIDE},
    "do_center_crop": True,
    "do_convert_rgb": True,
    "do_normalize": True,
    "do_rescale": True,
    "do_resize": True,
    "feature_extractor_type": "CLIPFeatureExtractor",
    "image_mean": VISION_MEAN,
    "image_processor_type": "CLIPImageProcessor",
    "image_std": VISION_DEVIATION,
    "resample": 2,
    "rescale_factor": 1 / 255,
    "size": {"shortest_edge": VISION_SIDE},
}
"""As published; recent transformers would write another class name."""


def export(work, model, teacher):
    """Builds the folder aside and moves it into place whole."""
    denoiser = train_video_unet.load(work)
    autoencoder = train_video_vae.load(work, teacher.config.scaling_factor)
    model.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=model.parent) as temporary:
        draft = Path(temporary) / model.name
        pipeline = StableVideoDiffusionPipeline(
            vae=autoencoder,
            image_encoder=denoiser.image_encoder,
            unet=denoiser.unet,
            scheduler=build_video_scheduler(),
            feature_extractor=build_feature_extractor(),
        )
        pipeline.to(torch.float16).save_pretrained(draft, safe_serialization=True)
        restore_names(draft)
        write_json(draft / "framewright.json", DEFAULTS)
        shutil.copyfile(CARD, draft / "README.md")
        # The latent space is the picture model's, and so is the map from it to colours.
        shutil.copyfile(model.parent / "demo-sdxl" / "preview.json", draft / "preview.json")
        for path in draft.rglob("*"):
            path.chmod(0o755 if path.is_dir() else 0o644)
        if model.exists():
            shutil.rmtree(model)
        draft.rename(model)
    report_sizes(model)


def restore_names(draft):
    """Recent transformers write other names than every published model has."""
    path, prefix, projection = draft / "image_encoder" / "model.safetensors", "vision_model.", "visual_projection."
    tensors = load_file(path)
    named = {name if name.startswith((prefix, projection)) else prefix + name: value for name, value in tensors.items()}
    save_file(named, path, metadata={"format": "pt"})
    write_json(draft / "feature_extractor" / "preprocessor_config.json", PREPROCESSOR, indent=2)
    index = json.loads((draft / "model_index.json").read_text(encoding="utf-8"))
    index["feature_extractor"] = ["transformers", "CLIPImageProcessor"]
    write_json(draft / "model_index.json", index, indent=2)


def write_json(path, value, indent=None):
    path.write_text(json.dumps(value, indent=indent) + "\n", encoding="utf-8")
