"""Trains the video autoencoder to share the picture autoencoder's latent space.

The encoder learns the picture encoder's latents, the decoder learns to draw from those, so
that neither waits for the other, nor the UNet for them.
"""

import torch
from diffusers import AutoencoderKL
from torch.nn import functional

from . import widening
from .clips import draw_clip, random_scene
from .frame_convolution import flatten_convolutions
from .pictures import fresh_source
from .progress import Run, averaged_state, reduced_precision
from .train_vae import CROP_SIDE, cropped, drawn_pictures, save_grid, to_picture, to_tensor
from .video_networks import build_video_autoencoder

CROP_BATCH, CLIP_BATCH, CLIP_FRAMES = 8, 2, 3
CROP_TIME_SHARE = 0.7
"""Crops teach edges at a quarter of the cost, still pictures need no temporal layers; clips come last."""

DEVIATION_WEIGHT = 0.01
"""For the spread of the latents, which nothing here draws from."""

RENDER_MINUTES = 2.0


def load_teacher(folder):
    """The picture model's published autoencoder, whose latent space the video model shares."""
    teacher = AutoencoderKL.from_pretrained(folder / "vae", local_files_only=True, torch_dtype=torch.float32)
    return teacher.eval().requires_grad_(False)


def spatial_decode(decoder, latents):
    """The decoder without its temporal layers: what it computes as long as those add nothing."""
    sample = decoder.conv_in(latents)
    for resnet in decoder.mid_block.resnets:
        sample = resnet.spatial_res_block(sample, None)
    for block in decoder.up_blocks:
        for resnet in block.resnets:
            sample = resnet.spatial_res_block(sample, None)
        for upsampler in block.upsamplers or ():
            sample = upsampler(sample)
    return decoder.conv_out(decoder.conv_act(decoder.conv_norm_out(sample)))


def losses(model, teacher, frames, pictures):
    """Frames is 1 for still pictures, else the length of the clips in the batch of pictures."""
    with torch.no_grad(), reduced_precision():
        taught = teacher.encode(pictures).latent_dist
        latents = taught.sample()
    with reduced_precision():
        seen = model.encode(pictures).latent_dist
        if frames == 1:
            rebuilt = spatial_decode(model.decoder, latents)
        else:
            rebuilt = model.decode(latents, num_frames=frames).sample
    difference = rebuilt.float() - pictures
    absolute, square = difference.abs().mean(), difference.square().mean()
    encoding = functional.mse_loss(seen.mean.float(), taught.mean.float()) / taught.mean.float().square().mean()
    deviation = functional.mse_loss(seen.logvar.float(), taught.logvar.float())
    loss = absolute + square + encoding + DEVIATION_WEIGHT * deviation
    return loss, {"absolute": absolute, "square": square, "encoding": encoding}


def still_batch(source):
    return to_tensor([cropped(picture, source) for picture in drawn_pictures(source, CROP_BATCH)])


def clip_batch(source):
    """Clips of consecutive frames, each clip a row, so that a thread gets whole ones."""
    return torch.stack([
        to_tensor(draw_clip(random_scene(source), source.randint(5, 250), CLIP_FRAMES)) for _ in range(CLIP_BATCH)
    ])


@torch.no_grad()
def render(model, teacher, path):
    """Originals, and both decoders' pictures; returns the signal-to-noise ratios in dB: new decoder, both new, old."""
    source = fresh_source(98)
    pictures = to_tensor([draw_clip(random_scene(source), 127, 2)[1] for _ in range(4)] + drawn_pictures(source, 4))
    with reduced_precision():
        latents = teacher.encode(pictures).latent_dist.mode()
        own = model.encode(pictures).latent_dist.mode()
        made = [spatial_frames(model, latents), spatial_frames(model, own), teacher.decode(latents).sample]
    save_grid([[to_picture(picture) for picture in row] for row in [pictures, *made]], path)
    return [ratio(row.float(), pictures) for row in made]


def spatial_frames(model, latents):
    """Each picture decoded as a clip of one frame."""
    return torch.cat([model.decode(row[None], num_frames=1).sample for row in latents])


def ratio(made, wanted):
    """Mean peak signal-to-noise ratio in dB of pictures from -1 to 1."""
    errors = ((made.clamp(-1, 1) - wanted) / 2).square().mean((1, 2, 3))
    return round((-10 * errors.log10()).mean().item(), 2)


def train(folder, teacher, minutes):
    torch.manual_seed(11)
    source = fresh_source(11)
    model = flatten_convolutions(build_video_autoencoder(teacher.config.scaling_factor))
    widening.widen(teacher, model)
    run = Run("video-vae", folder, model, source, minutes, peak_rate=1.5e-3, decay=0.99, weight_decay=0.0)
    rendered = run.elapsed
    for _ in run.steps():
        if run.share < CROP_TIME_SHARE:
            run.update(lambda pictures: losses(model, teacher, 1, pictures), still_batch(source))
        else:
            run.update(lambda clips: losses(model, teacher, CLIP_FRAMES, clips.flatten(0, 1)), clip_batch(source))
        if run.elapsed - rendered > RENDER_MINUTES * 60:
            render_average(run, teacher, folder)
            rendered = run.elapsed
    render_average(run, teacher, folder)


def render_average(run, teacher, folder):
    run.average.swap(run.module)
    print("decibels", render(run.module, teacher, folder / "video-vae.png"), flush=True)
    run.average.swap(run.module)


def load(folder, scaling_factor):
    """The trained autoencoder with averaged weights, ready to use."""
    model = build_video_autoencoder(scaling_factor)
    model.load_state_dict(averaged_state(folder / "video-vae.checkpoint", model))
    return model.eval().requires_grad_(False)
