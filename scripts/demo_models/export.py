"""Writes the trained networks as a published SDXL model would be laid out."""

import json
import shutil
import tempfile
from pathlib import Path

import numpy
import torch
from diffusers import StableDiffusionXLPipeline
from safetensors.torch import load_file, save_file

from . import latents, tokenizer, train_unet, train_vae
from .networks import LATENT_SCALE, build_scheduler
from .pictures import draw, fresh_source, random_subject

PREVIEW_PICTURES = 256
DEFAULTS = {"default_steps": 20, "default_guidance_scale": 3.0}
"""What the server uses when a request leaves them out; SDXL's own would be too strong for so small a model."""
CARD = Path(__file__).with_name("model_card.md")


def export(work, model):
    """Builds the folder aside and moves it into place whole."""
    denoiser = train_unet.load(work)
    autoencoder = train_vae.load(work)
    scaling_factor = latents.load(work)["scaling_factor"]
    autoencoder.register_to_config(scaling_factor=scaling_factor)
    preview = fit_preview(autoencoder, scaling_factor)

    model.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=model.parent) as temporary:
        draft = Path(temporary) / model.name
        pipeline = StableDiffusionXLPipeline(
            vae=autoencoder,
            text_encoder=denoiser.text_encoder,
            text_encoder_2=denoiser.text_encoder_2,
            tokenizer=denoiser.tokenizers[0],
            tokenizer_2=denoiser.tokenizers[1],
            unet=denoiser.unet,
            scheduler=build_scheduler(),
            force_zeros_for_empty_prompt=True,
        )
        pipeline.to(torch.float16).save_pretrained(draft, safe_serialization=True)
        restore_text_prefix(draft / "text_encoder" / "model.safetensors")
        for name in tokenizer.PADDING:
            shutil.rmtree(draft / name)
            shutil.copytree(work / name, draft / name)
        (draft / "framewright.json").write_text(json.dumps(DEFAULTS) + "\n", encoding="utf-8")
        (draft / "preview.json").write_text(json.dumps(preview, indent=2) + "\n", encoding="utf-8")
        shutil.copyfile(CARD, draft / "README.md")
        for path in draft.rglob("*"):
            path.chmod(0o755 if path.is_dir() else 0o644)
        if model.exists():
            shutil.rmtree(model)
        draft.rename(model)
    report_sizes(model)


def restore_text_prefix(path):
    """Recent transformers save a CLIPTextModel without the prefix that every published file has."""
    prefix = "text_model."
    tensors = load_file(path)
    named = {name if name.startswith(prefix) else prefix + name: value for name, value in tensors.items()}
    save_file(named, path, metadata={"format": "pt"})


@torch.no_grad()
def fit_preview(autoencoder, scaling_factor):
    """The linear map from scaled latents to small pictures, -1 to 1, by least squares."""
    source = fresh_source(11)
    pictures = train_vae.to_tensor([draw(random_subject(source), source) for _ in range(PREVIEW_PICTURES)])
    encoded = autoencoder.encode(pictures).latent_dist.mode() * scaling_factor
    small = torch.nn.functional.avg_pool2d(pictures, LATENT_SCALE)
    known = encoded.permute(0, 2, 3, 1).reshape(-1, encoded.shape[1]).double().numpy()
    wanted = small.permute(0, 2, 3, 1).reshape(-1, 3).double().numpy()
    known = numpy.concatenate([known, numpy.ones((len(known), 1))], axis=1)
    solution = numpy.linalg.lstsq(known, wanted, rcond=None)[0].round(5)
    return {"latent_rgb_factors": solution[:-1].tolist(), "latent_rgb_bias": solution[-1].tolist()}


def report_sizes(model):
    total = 0
    for path in sorted(model.rglob("*")):
        if path.is_file():
            total += path.stat().st_size
            print(f"{path.stat().st_size:>10} {path.relative_to(model)}", flush=True)
    print(f"{total:>10} in all", flush=True)
