"""Trains the video UNet and the image encoder together, on latents encoded beforehand."""

import math

import torch
from diffusers.models.attention_processor import AttnProcessor
from diffusers.pipelines.stable_video_diffusion.pipeline_stable_video_diffusion import _resize_with_antialiasing
from torch.nn import functional

from .clip_latents import Store
from .clips import draw_clip, random_scene
from .frame_convolution import flatten_convolutions
from .networks import LATENT_CHANNELS, LATENT_SIDE
from .pictures import fresh_source
from .progress import Run, averaged_state, reduced_precision
from .train_vae import save_grid, to_picture, to_tensor
from .video_networks import (
    FRAMES, VISION_DEVIATION, VISION_MEAN, VISION_SIDE, build_image_encoder, build_video_scheduler, build_video_unet,
)

BATCH = 8
ABSENT_SHARE = 0.08
"""Rows without a first frame: zeros in both places, which is what guidance compares with."""

LOWEST_NOISE, HIGHEST_NOISE = 0.02, 700.0
"""Noise levels are drawn evenly by their logarithm. The published model leans towards the
middle; here the motion follows from the first frame, so that all is decided where the noise
is strong, and few steps come after that."""

MOST_FRAMES_PER_SECOND = 30
RENDER_MINUTES, RENDER_STEPS = 5.0, 8
RENDER_BUCKETS = (20, 127, 127, 250)


class OneTokenAttention:
    """Attention to a single token: its weight is one, so that only the value counts. Exact, and much cheaper."""

    def __call__(self, attention, hidden_states, encoder_hidden_states=None, attention_mask=None, temb=None):
        value = attention.to_out[0](attention.to_v(encoder_hidden_states))
        return value.expand(-1, hidden_states.shape[1], -1)


class VideoDenoiser(torch.nn.Module):
    """The UNet with its image encoder, conditioned exactly as the published pipeline does it."""

    def __init__(self):
        super().__init__()
        self.unet = flatten_convolutions(build_video_unet())
        self.image_encoder = build_image_encoder()
        # At these sizes the fused attention's backward pass is slower than plain products.
        self.unet.set_attn_processor({
            name: OneTokenAttention() if "attn2" in name else AttnProcessor() for name in self.unet.attn_processors
        })
        self.image_encoder.set_attn_implementation("eager")

    def forward(self, noisy, sigma, starts, pictures, added_ids, kept):
        """The prediction for noisy latents of batch, frame, channel, height, width; `kept` is 0 for rows without a first frame."""
        scaled = noisy / (sigma.view(-1, 1, 1, 1, 1).square() + 1.0).sqrt()
        starts = (starts * kept.view(-1, 1, 1, 1)).unsqueeze(1).expand_as(noisy)
        context = self.image_encoder(pictures).image_embeds * kept.view(-1, 1)
        sample = torch.cat([scaled, starts], dim=2)
        return self.unet(sample, 0.25 * sigma.log(), context.unsqueeze(1), added_time_ids=added_ids).sample


def vision_input(pictures):
    """uint8 pictures as the pipeline hands them to the image encoder."""
    mean, deviation = (torch.tensor(values).view(1, 3, 1, 1) for values in (VISION_MEAN, VISION_DEVIATION))
    resized = _resize_with_antialiasing(to_tensor(pictures), (VISION_SIDE, VISION_SIDE))
    return ((resized + 1.0) / 2.0 - mean) / deviation


def drawn_sigmas(count):
    """One noise level from each slice, in ascending order."""
    position = (torch.arange(count) + torch.rand(count)) / count
    low, high = math.log(LOWEST_NOISE), math.log(HIGHEST_NOISE)
    return (low + (high - low) * position).exp()


def training_batch(store, source):
    clips = [store.clip(source) for _ in range(BATCH)]
    clean, starts, pictures, buckets, strengths = zip(*clips)
    ids = torch.tensor([
        (source.randint(1, MOST_FRAMES_PER_SECOND) - 1, bucket, strength) for bucket, strength in zip(buckets, strengths)
    ])
    kept = torch.tensor([0.0 if source.random() < ABSENT_SHARE else 1.0 for _ in clips])
    clean = torch.stack(clean).float()
    return clean, torch.randn_like(clean), drawn_sigmas(BATCH), torch.stack(starts).float(), vision_input(pictures), ids, kept


def losses(model, clean, noise, sigma, starts, pictures, added_ids, kept):
    """Error of the velocity, every noise level alike."""
    spread = sigma.view(-1, 1, 1, 1, 1)
    noisy = clean + spread * noise
    total = (spread.square() + 1.0).sqrt()
    wanted = (noisy / total - clean * total) / spread
    with reduced_precision():
        predicted = model(noisy, sigma, starts, pictures, added_ids, kept)
    errors = functional.mse_loss(predicted.float(), wanted, reduction="none").mean((1, 2, 3, 4))
    return errors.mean(), {"fine": errors[:len(errors) // 2].mean(), "coarse": errors[-(len(errors) // 4):].mean()}


@torch.no_grad()
def sample(model, starts, pictures, added_ids, seed=5):
    """Scaled latents of clips without guidance, by the scheduler that ships with the model."""
    count = len(starts)
    generator = torch.Generator().manual_seed(seed)
    scheduler = build_video_scheduler()
    scheduler.set_timesteps(RENDER_STEPS)
    latents = torch.randn(count, FRAMES, LATENT_CHANNELS, LATENT_SIDE, LATENT_SIDE, generator=generator)
    latents *= scheduler.init_noise_sigma
    for timestep, sigma in zip(scheduler.timesteps, scheduler.sigmas):
        scheduler.scale_model_input(latents, timestep)
        with reduced_precision():
            predicted = model(latents, sigma.expand(count), starts, pictures, added_ids, torch.ones(count)).float()
        latents = scheduler.step(predicted, timestep, latents).prev_sample
    return latents


@torch.no_grad()
def render(model, teacher, path):
    """Drawn clips above what the model makes of their first frames, every second frame; returns the latents' error."""
    source = fresh_source(77)
    scenes = [random_scene(source) for _ in RENDER_BUCKETS]
    clips = [draw_clip(scene, bucket, FRAMES) for scene, bucket in zip(scenes, RENDER_BUCKETS)]
    factor = teacher.config.scaling_factor
    with reduced_precision():
        starts = teacher.encode(to_tensor([clip[0] for clip in clips])).latent_dist.mode().float()
        wanted = [teacher.encode(to_tensor(clip)).latent_dist.mode().float() * factor for clip in clips]
    added_ids = torch.tensor([(6.0, float(bucket), 0.02) for bucket in RENDER_BUCKETS])
    made = sample(model, starts, vision_input([clip[0] for clip in clips]), added_ids)
    rows = []
    for clip, latents in zip(clips, made):
        with reduced_precision():
            decoded = teacher.decode(latents[1::2] / factor).sample
        rows += [clip[1::2], [to_picture(picture) for picture in decoded]]
    save_grid(rows, path)
    return functional.mse_loss(made, torch.stack(wanted)).item()


def train(folder, teacher, minutes):
    torch.manual_seed(13)
    source = fresh_source(13)
    store = Store(folder)
    model = VideoDenoiser()
    print("parameters", {name: sum(p.numel() for p in part.parameters()) for name, part in model.named_children()}, flush=True)
    run = Run("video-unet", folder, model, source, minutes, peak_rate=1e-3, decay=0.998)
    rendered = run.elapsed
    for _ in run.steps():
        run.update(lambda *share: losses(model, *share), *training_batch(store, source))
        if run.elapsed - rendered > RENDER_MINUTES * 60:
            rendered = run.elapsed
            render_average(run, teacher, folder)
            store.refresh()
    render_average(run, teacher, folder)


def render_average(run, teacher, folder):
    run.average.swap(run.module)
    error = render(run.module, teacher, folder / f"video-unet-{round(run.elapsed / 60):03}.png")
    run.average.swap(run.module)
    print(f"error of sampled latents {error:.4f}", flush=True)


def load(folder):
    """The trained networks with averaged weights."""
    model = VideoDenoiser()
    model.load_state_dict(averaged_state(folder / "video-unet.checkpoint", model))
    return model.eval().requires_grad_(False)
