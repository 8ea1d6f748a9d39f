"""Trains the autoencoder on pictures that are drawn as it goes."""

import numpy
import torch
from PIL import Image

from .networks import build_autoencoder
from .pictures import SIDE, draw, draw_clutter, fresh_source, random_subject
from .progress import Run, averaged_state, reduced_precision

CROP_SIDE, CROP_BATCH, WHOLE_BATCH = 64, 16, 8
CROP_TIME_SHARE = 0.7
"""Edges are learnt from crops at a quarter of the cost; whole pictures come last."""

CLUTTER_SHARE = 0.2
DIVERGENCE_WEIGHT = 3e-4
"""Tiny: enough to keep the latents centred and smooth, too little to blur a picture."""

RENDER_MINUTES = 2.0


def to_tensor(pictures):
    """uint8 pictures as the networks want them: channels first, -1 to 1."""
    stacked = torch.from_numpy(numpy.stack(pictures)).permute(0, 3, 1, 2)
    return (stacked.float() / 127.5 - 1.0).contiguous()


def to_picture(tensor):
    """The reverse of `to_tensor` for one picture."""
    pixels = (tensor.float().clamp(-1, 1) + 1.0) * 127.5
    return pixels.round().to(torch.uint8).permute(1, 2, 0).contiguous().numpy()


def drawn_pictures(source, count):
    return [
        draw_clutter(source) if source.random() < CLUTTER_SHARE else draw(random_subject(source), source)
        for _ in range(count)
    ]


def cropped(picture, source):
    """A random part; flat parts teach little, so a second try is given to those."""
    for _ in range(2):
        top, left = (source.randrange(SIDE - CROP_SIDE + 1) for _ in range(2))
        part = picture[top:top + CROP_SIDE, left:left + CROP_SIDE]
        if part.std(axis=(0, 1)).max() > 4:
            break
    return part


def training_batch(source, share):
    if share < CROP_TIME_SHARE:
        return to_tensor([cropped(picture, source) for picture in drawn_pictures(source, CROP_BATCH)])
    return to_tensor(drawn_pictures(source, WHOLE_BATCH))


def save_grid(rows, path):
    """Rows of equally large uint8 pictures as one PNG."""
    Image.fromarray(numpy.concatenate([numpy.concatenate(row, axis=1) for row in rows], axis=0)).save(path)


@torch.no_grad()
def render(model, path):
    """Originals above, reconstructions below, always of the same pictures."""
    source = fresh_source(99)
    pictures = to_tensor(drawn_pictures(source, 8))
    with reduced_precision():
        rebuilt = model.decode(model.encode(pictures).latent_dist.mode()).sample
    save_grid([[to_picture(p) for p in pictures], [to_picture(p) for p in rebuilt]], path)


def losses(model, pictures):
    with reduced_precision():
        posterior = model.encode(pictures).latent_dist
        rebuilt = model.decode(posterior.sample()).sample
    difference = rebuilt.float() - pictures
    absolute, square = difference.abs().mean(), difference.square().mean()
    mean, log_variance = posterior.mean.float(), posterior.logvar.float()
    divergence = 0.5 * (mean.square() + log_variance.exp() - 1.0 - log_variance).mean()
    return absolute + square + DIVERGENCE_WEIGHT * divergence, {"absolute": absolute, "divergence": divergence}


def train(folder, minutes):
    torch.manual_seed(1)
    source = fresh_source(1)
    model = build_autoencoder()
    run = Run("vae", folder, model, source, minutes, peak_rate=1.5e-3, decay=0.997)
    rendered = run.elapsed
    for _ in run.steps():
        run.update(lambda pictures: losses(model, pictures), training_batch(source, run.share))
        if run.elapsed - rendered > RENDER_MINUTES * 60:
            render(model, folder / "vae.png")
            rendered = run.elapsed
    run.average.swap(model)
    render(model, folder / "vae.png")
    run.average.swap(model)


def load(folder):
    """The trained autoencoder with averaged weights, ready to use."""
    model = build_autoencoder()
    model.load_state_dict(averaged_state(folder / "vae.checkpoint", model))
    return model.eval().requires_grad_(False)
