"""Encodes moving scenes once, so that a step of the video UNet costs no drawing and no encoding.

The video model shares the latent space of the picture model: `train_video_vae.py` teaches
its own autoencoder the same latents while the UNet already trains on these.
"""

import math
from dataclasses import dataclass

import torch

from .clips import Scene, draw_frame, path, random_scene
from .networks import LATENT_CHANNELS, LATENT_SIDE
from .pictures import fresh_source
from .progress import reduced_precision, save_atomically
from .train_vae import to_tensor
from .video_networks import FRAMES

TAKE_FRAMES = 2 * FRAMES - 1
"""Enough for a clip at twice the take's speed."""

STARTS = (0, 4, 9, 13)
"""Frames of a take that are encoded as first frames, too."""

SLOWEST_BUCKET, FASTEST_BUCKET = 3, 127
"""Motion buckets of takes; clips of every second frame double them."""

FAINTEST_NOISE, STRONGEST_NOISE = 0.005, 0.15
TAKES_PER_SHARD = 50


@dataclass(frozen=True)
class Take:
    """A scene in motion, longer than a clip."""

    scene: Scene
    bucket: int


def shard_path(folder, index):
    return folder / f"clips-{index:03}.data"


@torch.no_grad()
def encode_all(folder, teacher, takes):
    """Writes shards of scaled clean latents and of first frames encoded with noise, unscaled, as the pipeline gives them."""
    for index in range(math.ceil(takes / TAKES_PER_SHARD)):
        if not shard_path(folder, index).exists():
            save_atomically(encode_shard(index, teacher), shard_path(folder, index))
            print(f"clips {(index + 1) * TAKES_PER_SHARD} of {takes}", flush=True)


def encode_shard(index, teacher):
    source = fresh_source(1000 + index)
    generator = torch.Generator().manual_seed(1000 + index)
    size = (LATENT_CHANNELS, LATENT_SIDE, LATENT_SIDE)
    clean = torch.empty(TAKES_PER_SHARD, TAKE_FRAMES, *size, dtype=torch.float16)
    starts = torch.empty(TAKES_PER_SHARD, len(STARTS), *size, dtype=torch.float16)
    strengths = torch.empty(TAKES_PER_SHARD, len(STARTS))
    takes = []
    for row in range(TAKES_PER_SHARD):
        take = Take(random_scene(source), source.randint(SLOWEST_BUCKET, FASTEST_BUCKET))
        takes.append(take)
        pictures = to_tensor(drawn_take(take))
        spread = math.log(STRONGEST_NOISE / FAINTEST_NOISE)
        strengths[row] = FAINTEST_NOISE * torch.exp(torch.rand(len(STARTS), generator=generator) * spread)
        first = pictures[list(STARTS)]
        noisy = first + strengths[row].view(-1, 1, 1, 1) * torch.randn(first.shape, generator=generator)
        with reduced_precision():
            encoded = teacher.encode(torch.cat([pictures, noisy])).latent_dist.mode().float()
        clean[row] = encoded[:TAKE_FRAMES] * teacher.config.scaling_factor
        starts[row] = encoded[TAKE_FRAMES:]
    return {"clean": clean, "starts": starts, "strengths": strengths, "takes": takes}


def drawn_take(take, frames=TAKE_FRAMES):
    paths = [path(mover, take.bucket, frames) for mover in take.scene.movers]
    return [draw_frame(take.scene, places) for places in zip(*paths)]


class Store:
    """The shards that exist; more may come while training runs."""

    def __init__(self, folder):
        self.folder = folder
        self.shards = []
        self.refresh()

    def refresh(self):
        while shard_path(self.folder, len(self.shards)).exists():
            self.shards.append(torch.load(shard_path(self.folder, len(self.shards)), weights_only=False))

    def clip(self, source):
        """Latents, first frame's latents, first picture, motion bucket and noise strength of a random clip."""
        shard, row = source.choice(self.shards), source.randrange(TAKES_PER_SHARD)
        take = shard["takes"][row]
        stride = source.choice((1, 2))
        start = 0 if stride == 2 else source.randrange(len(STARTS))
        first = STARTS[start]
        places = [path(mover, take.bucket, first + 1)[-1] for mover in take.scene.movers]
        return (
            shard["clean"][row, first:first + stride * (FRAMES - 1) + 1:stride],
            shard["starts"][row, start],
            draw_frame(take.scene, places),
            take.bucket * stride,
            float(shard["strengths"][row, start]),
        )
