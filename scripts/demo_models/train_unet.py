"""Trains the UNet and both text encoders together, on latents encoded beforehand."""

import torch
from diffusers.models.attention_processor import AttnProcessor
from torch.nn import functional

from . import latents, tokenizer, train_vae
from .networks import (
    LATENT_CHANNELS, LATENT_SIDE, POOLED_WIDTH, TEXT_WIDTH, TIME_IDS, CONTEXT_LENGTH,
    build_scheduler, build_text_encoders, build_unet, signal_shares,
)
from .pictures import caption, fresh_source
from .progress import Run, averaged_state, reduced_precision
from .train_vae import save_grid, to_picture

BATCH = 48
ABSENT_SHARE = 0.10
"""Rows without a prompt: all-zero conditioning, which is what the pipeline gives for an absent negative prompt."""

EMPTY_SHARE = 0.03
"""Rows whose prompt is the encoded empty string, for those who send an empty negative prompt."""

SIGNAL_TO_NOISE_LIMIT = 5.0
RENDER_MINUTES = 5.0
RENDER_STEPS, RENDER_GUIDANCE = 20, 3.0

RENDER_PROMPTS = [
    "a large red circle on a blue background",
    "a small yellow star on a green background, top left",
    "a large white cross on a black background",
    "a small pink ring on a purple background, bottom right",
    "a large orange triangle on a cyan background, center",
    "a small black square on a yellow background, top right",
    "a small cyan circle on a red background, bottom left",
    "a picture of a large green star on a white background",
    "blue ring on orange",
    "a large purple square on a pink background, bottom right",
    "a small white triangle on a blue background, center",
    "a small red cross on a white background, top left",
]


class Denoiser(torch.nn.Module):
    """The UNet with its text encoders, conditioned exactly as the SDXL pipeline does it."""

    def __init__(self, tokenizer_1, tokenizer_2):
        super().__init__()
        self.tokenizers = (tokenizer_1, tokenizer_2)
        self.unet = build_unet()
        self.text_encoder, self.text_encoder_2 = build_text_encoders(tokenizer_1, tokenizer_2)
        # At these sizes the fused attention's backward pass is slower than plain products.
        self.unet.set_attn_processor(AttnProcessor())
        self.text_encoder.set_attn_implementation("eager")
        self.text_encoder_2.set_attn_implementation("eager")

    def tokens(self, prompts):
        settings = {"padding": "max_length", "max_length": CONTEXT_LENGTH, "truncation": True, "return_tensors": "pt"}
        return tuple(each(prompts, **settings).input_ids for each in self.tokenizers)

    def encode(self, prompts):
        """Penultimate states of both encoders side by side, and the pooled output of the second."""
        first_ids, second_ids = self.tokens(prompts)
        first = self.text_encoder(first_ids, output_hidden_states=True)
        second = self.text_encoder_2(second_ids, output_hidden_states=True)
        context = torch.cat([first.hidden_states[-2], second.hidden_states[-2]], dim=-1)
        return context, second.text_embeds

    def forward(self, noisy, timesteps, context, pooled):
        time_ids = torch.tensor([TIME_IDS], dtype=torch.float32).expand(len(noisy), -1)
        conditions = {"text_embeds": pooled, "time_ids": time_ids}
        return self.unet(noisy, timesteps, context, added_cond_kwargs=conditions).sample


def drawn_timesteps(count):
    """One timestep from each slice of the schedule, leaning towards the noisy end, where places and colours are decided."""
    position = (torch.arange(count) + torch.rand(count)) / count
    return (1000 * (1.0 - (1.0 - position) ** 1.5)).long().clamp(0, 999)


def training_prompts(subjects, source):
    """Captions, and which rows are to go without any."""
    prompts, kept = [], []
    for subject in subjects:
        chance = source.random()
        prompts.append("" if chance < ABSENT_SHARE + EMPTY_SHARE else caption(subject, source))
        kept.append(0.0 if chance < ABSENT_SHARE else 1.0)
    return prompts, torch.tensor(kept)


def row_weights(signal):
    """Less for nearly clean rows, as the limited signal-to-noise ratio has it; more for nearly pure noise.

    There the place of a shape is decided, yet a wrong place costs hardly any error in the
    noise prediction: unweighted, prompts settle colours and shapes long before places.
    """
    ratio = signal / (1.0 - signal)
    return ratio.clamp(max=SIGNAL_TO_NOISE_LIMIT) / ratio / signal.sqrt()


def losses(model, shares, clean, noise, timesteps, prompts, kept):
    """Noise prediction error, weighted by the limited signal-to-noise ratio."""
    signal = shares[timesteps].view(-1, 1, 1, 1)
    noisy = signal.sqrt() * clean + (1.0 - signal).sqrt() * noise
    with reduced_precision():
        context, pooled = model.encode(prompts)
        context, pooled = context * kept.view(-1, 1, 1), pooled * kept.view(-1, 1)
        predicted = model(noisy, timesteps, context, pooled)
    errors = functional.mse_loss(predicted.float(), noise, reduction="none").mean((1, 2, 3))
    loss = (errors * row_weights(signal.flatten())).mean()
    # Timesteps come in ascending order, so the last third is the noisy one.
    third = len(errors) // 3
    return loss, {"fine": errors[:third].mean(), "coarse": errors[-third:].mean()}


@torch.no_grad()
def render(model, autoencoder, scaling_factor, path, seed=5):
    """The fixed prompts, drawn with guidance by the scheduler that ships with the model."""
    count = len(RENDER_PROMPTS)
    generator = torch.Generator().manual_seed(seed)
    scheduler = build_scheduler()
    scheduler.set_timesteps(RENDER_STEPS)
    sample = torch.randn(count, LATENT_CHANNELS, LATENT_SIDE, LATENT_SIDE, generator=generator)
    sample *= scheduler.init_noise_sigma
    with reduced_precision():
        context, pooled = model.encode(RENDER_PROMPTS)
    context = torch.cat([torch.zeros(count, CONTEXT_LENGTH, 2 * TEXT_WIDTH), context.float()])
    pooled = torch.cat([torch.zeros(count, POOLED_WIDTH), pooled.float()])
    for timestep in scheduler.timesteps:
        scaled = scheduler.scale_model_input(torch.cat([sample, sample]), timestep)
        with reduced_precision():
            without, given = model(scaled, timestep, context, pooled).float().chunk(2)
        sample = scheduler.step(without + RENDER_GUIDANCE * (given - without), timestep, sample).prev_sample
    decoded = autoencoder.decode(sample / scaling_factor).sample
    pictures = [to_picture(picture) for picture in decoded]
    save_grid([pictures[:count // 2], pictures[count // 2:]], path)


def train(folder, minutes):
    torch.manual_seed(3)
    source = fresh_source(3)
    stored = latents.load(folder)
    model = Denoiser(*tokenizer.load_both(folder))
    print("parameters", {name: sum(p.numel() for p in part.parameters()) for name, part in model.named_children()}, flush=True)
    autoencoder = train_vae.load(folder)
    shares = signal_shares()
    run = Run("unet", folder, model, source, minutes, peak_rate=1e-3, decay=0.998)
    rendered = run.elapsed
    for _ in run.steps():
        rows = source.choices(range(len(stored["subjects"])), k=BATCH)
        clean = stored["latents"][rows].float()
        prompts, kept = training_prompts([stored["subjects"][row] for row in rows], source)
        noise, timesteps = torch.randn_like(clean), drawn_timesteps(BATCH)
        run.update(
            lambda *share: losses(model, shares, *share), clean, noise, timesteps, prompts, kept
        )
        if run.elapsed - rendered > RENDER_MINUTES * 60:
            rendered = run.elapsed
            render_average(run, autoencoder, stored["scaling_factor"], folder)
    render_average(run, autoencoder, stored["scaling_factor"], folder)


def render_average(run, autoencoder, scaling_factor, folder):
    run.average.swap(run.module)
    render(run.module, autoencoder, scaling_factor, folder / f"unet-{round(run.elapsed / 60):03}.png")
    run.average.swap(run.module)


def load(folder):
    """The trained networks with averaged weights."""
    model = Denoiser(*tokenizer.load_both(folder))
    model.load_state_dict(averaged_state(folder / "unet.checkpoint", model))
    return model.eval().requires_grad_(False)
