"""Trains the autoencoder's decoder further, its encoder kept as it is.

The UNet's latents stay valid, while edges become sharper and the decoder learns to
forgive the small errors that generated latents have.
"""

import torch

from . import latents
from .networks import LATENT_SCALE, LATENT_SIDE
from .pictures import fresh_source
from .progress import Run
from .train_vae import CROP_BATCH, CROP_SIDE, WHOLE_BATCH, drawn_pictures, load, reduced_precision, render, to_tensor

CROP_TIME_SHARE = 0.3
LATENT_NOISE = 0.1
"""Deviation of the noise that is added to latents of unit deviation."""


@torch.no_grad()
def encoded_batch(model, source, share, noise):
    """Noisy latents and their pictures; early on only a part of each, around an edge if need be."""
    whole = share >= CROP_TIME_SHARE
    pictures = to_tensor(drawn_pictures(source, WHOLE_BATCH if whole else CROP_BATCH))
    with reduced_precision():
        codes = model.encode(pictures).latent_dist.sample().float()
    codes += noise * torch.randn_like(codes)
    if whole:
        return codes, pictures
    parts = [part_of(picture, source) for picture in pictures]
    width = CROP_SIDE // LATENT_SCALE
    return (
        torch.stack([code[:, y:y + width, x:x + width] for code, (y, x) in zip(codes, parts)]),
        torch.stack([
            picture[:, y * LATENT_SCALE:, x * LATENT_SCALE:][:, :CROP_SIDE, :CROP_SIDE]
            for picture, (y, x) in zip(pictures, parts)
        ]),
    )


def part_of(picture, source):
    """A random place on the latent grid; a flat part gets one more try."""
    for _ in range(2):
        y, x = (source.randrange(LATENT_SIDE - CROP_SIDE // LATENT_SCALE + 1) for _ in range(2))
        part = picture[:, y * LATENT_SCALE:, x * LATENT_SCALE:][:, :CROP_SIDE, :CROP_SIDE]
        if part.std(dim=(1, 2)).max() > 0.03:
            break
    return y, x


def losses(model, codes, pictures):
    with reduced_precision():
        rebuilt = model.decode(codes).sample
    difference = rebuilt.float() - pictures
    absolute, square = difference.abs().mean(), difference.square().mean()
    return absolute + square, {"absolute": absolute}


def train(folder, minutes):
    torch.manual_seed(5)
    source = fresh_source(5)
    model = load(folder, sharpened=False)
    noise = LATENT_NOISE / latents.load(folder)["scaling_factor"]
    trained = torch.nn.ModuleList([model.post_quant_conv, model.decoder]).requires_grad_(True)
    run = Run("decoder", folder, trained, source, minutes, peak_rate=4e-4, decay=0.995)
    for _ in run.steps():
        run.update(lambda *share: losses(model, *share), *encoded_batch(model, source, run.share, noise))
    run.average.swap(trained)
    render(model, folder / "decoder.png")
    run.average.swap(trained)
