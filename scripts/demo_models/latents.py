"""Encodes the pictures once, so that a step of the UNet costs no drawing and no encoding."""

import json

import torch

from . import train_vae
from .networks import LATENT_CHANNELS, LATENT_SIDE
from .pictures import draw, fresh_source, random_subject
from .progress import reduced_precision, save_atomically
from .train_vae import to_tensor

BATCH = 64
FILE = "latents.data"


@torch.no_grad()
def encode_all(folder, count):
    """Writes latents of unit deviation, their subjects, and the factor that makes them so."""
    if (folder / FILE).exists():
        return
    model = train_vae.load(folder)
    source = fresh_source(2)
    means = torch.empty(count, LATENT_CHANNELS, LATENT_SIDE, LATENT_SIDE)
    subjects = []
    for start in range(0, count, BATCH):
        batch = [random_subject(source) for _ in range(min(BATCH, count - start))]
        with reduced_precision():
            posterior = model.encode(to_tensor([draw(subject, source) for subject in batch])).latent_dist
        means[start:start + len(batch)] = posterior.mean.float()
        subjects += batch
        if start % (BATCH * 50) == 0:
            print(f"latents {start} of {count}", flush=True)
    scaling_factor = round(1.0 / means.std().item(), 5)
    means *= scaling_factor
    channels = {"mean": means.mean((0, 2, 3)).tolist(), "deviation": means.std((0, 2, 3)).tolist()}
    print("latents", json.dumps(channels), "scaling factor", scaling_factor, flush=True)
    save_atomically({"latents": means.half(), "subjects": subjects, "scaling_factor": scaling_factor}, folder / FILE)


def load(folder):
    return torch.load(folder / FILE, weights_only=False)
