"""Whole pictures: diffusers' SDXL pipelines, text to image and image to image, on the tiny checkpoints."""

from pathlib import Path

import numpy as np
import torch
from diffusers import StableDiffusionXLImg2ImgPipeline, StableDiffusionXLPipeline
from PIL import Image

import saved
from checkpoint import CHECKPOINTS, Checkpoint
from fixture import write_case
from scheduler import sampler_from

PROMPT = "a photo of a red cat, oil painting, best quality!"
NEGATIVE = "blurry, low quality"
OTHER = "the castle at night (masterpiece:1.2) don't stop"
INIT_IMAGE = "init.png"
INIT_SIZE = (70, 50)

# `float` keeps the decoded picture in f32 as well. Sizes are (width, height) in pixels.
CASES = {
    "euler": {"checkpoint": "two_level", "sampler": "euler", "steps": 5, "size": (48, 32), "float": True},
    "euler_empty_negative": {"checkpoint": "two_level", "sampler": "euler", "steps": 3, "size": (32, 48), "negative": ""},
    "euler_unguided": {"checkpoint": "two_level", "sampler": "euler", "steps": 4, "size": (32, 32), "guidance": 1.0},
    "euler_karras_seed_33_bits": {
        "checkpoint": "two_level", "sampler": "euler", "sigma_mode": "karras", "steps": 6, "size": (40, 24),
        "seed": 2**32 + 7, "negative": NEGATIVE},
    "heun": {"checkpoint": "two_level", "sampler": "heun", "steps": 4, "size": (48, 32), "negative": NEGATIVE},
    "euler_ancestral_batch": {
        "checkpoint": "two_level", "sampler": "euler_ancestral", "steps": 5, "size": (40, 32), "images": 2, "prompt": OTHER},
    "dpmpp_2m_karras": {
        "checkpoint": "two_level", "sampler": "dpmpp_2m", "sigma_mode": "karras", "steps": 8, "size": (32, 48)},
    "euler_image": {"checkpoint": "two_level", "sampler": "euler", "steps": 10, "size": (48, 32), "strength": 0.6},
    "heun_image": {
        "checkpoint": "two_level", "sampler": "heun", "steps": 5, "size": (48, 40), "strength": 0.6, "negative": NEGATIVE},
    "ddim": {"checkpoint": "three_level", "sampler": "ddim", "steps": 6, "size": (96, 64), "float": True},
    "dpmpp_2m": {"checkpoint": "three_level", "sampler": "dpmpp_2m", "steps": 10, "size": (64, 88), "negative": NEGATIVE},
    "unipc": {"checkpoint": "three_level", "sampler": "unipc", "steps": 6, "size": (72, 56), "prompt": OTHER},
    "unipc_image": {"checkpoint": "three_level", "sampler": "unipc", "steps": 7, "size": (72, 48), "strength": 0.6},
    "dpmpp_2m_image_batch": {
        "checkpoint": "three_level", "sampler": "dpmpp_2m", "steps": 6, "size": (64, 48), "strength": 0.6, "images": 2},
    "zero_snr_euler": {"checkpoint": "zero_snr", "sampler": "euler", "steps": 6, "size": (48, 32), "float": True},
    "zero_snr_rescaled": {
        "checkpoint": "zero_snr", "sampler": "euler_ancestral", "steps": 5, "size": (32, 32), "rescale": 0.7,
        "negative": NEGATIVE},
    "zero_snr_ddim_rescaled_batch": {
        "checkpoint": "zero_snr", "sampler": "ddim", "steps": 5, "size": (40, 24), "rescale": 0.7, "images": 2},
    "zero_snr_sde": {"checkpoint": "zero_snr", "sampler": "dpmpp_2m_sde", "steps": 6, "size": (40, 32)},
    "zero_snr_sde_karras_image_batch": {
        "checkpoint": "zero_snr", "sampler": "dpmpp_2m_sde", "sigma_mode": "karras", "steps": 5, "size": (32, 40),
        "strength": 0.6, "images": 2, "negative": NEGATIVE},
    "encoded_absent_negative": {
        "checkpoint": "conv_projection", "sampler": "euler_ancestral", "steps": 4, "size": (48, 32), "float": True},
    "unguided_lcm": {
        "checkpoint": "conv_projection", "sampler": "lcm", "steps": 4, "size": (32, 32), "guidance": 1.0, "seed": 0},
    "lcm_image": {
        "checkpoint": "conv_projection", "sampler": "lcm", "steps": 6, "size": (40, 32), "guidance": 1.5, "strength": 0.6},
    "euler_ancestral_image": {
        "checkpoint": "conv_projection", "sampler": "euler_ancestral", "steps": 5, "size": (32, 24), "strength": 0.6},
    "saved_euler": {"checkpoint": "saved", "sampler": "euler", "steps": 5, "size": (48, 32), "float": True},
    "saved_dpmpp_2m_sde": {"checkpoint": "saved", "sampler": "dpmpp_2m_sde", "steps": 5, "size": (32, 24), "images": 2},
}
DEFAULTS = {"sigma_mode": "plain", "prompt": PROMPT, "negative": None, "guidance": 5.0, "rescale": 0.0, "seed": 42,
            "images": 1, "strength": None}


def init_image() -> Image.Image:
    """Smooth colours with a disc and stripes: something for a resampling filter to ring on."""
    width, height = INIT_SIZE
    y, x = np.mgrid[0:height, 0:width]
    picture = np.stack([255 * x // (width - 1), 255 * y // (height - 1), 128 + 0 * x], axis=-1).astype(np.uint8)
    picture[(x - 24) ** 2 + (y - 22) ** 2 < 200] = (230, 40, 60)
    picture[(x > 46) & (x % 4 < 2)] = (10, 20, 30)
    return Image.fromarray(picture)


def components(root: Path, name: str) -> dict:
    """What both pipelines are made of, but for the scheduler."""
    if name == "saved":
        loaded = dict(saved.load(root).components)
        return {key: loaded[key] for key in ("tokenizer", "tokenizer_2", "text_encoder", "text_encoder_2", "unet", "vae")}
    checkpoint = Checkpoint(root, name)
    return {"tokenizer": checkpoint.tokenizer, "tokenizer_2": checkpoint.tokenizer_2, **checkpoint.networks}


def rendered(parts: dict, case: dict, picture: Image.Image) -> dict[str, torch.Tensor]:
    """One run. The callback sees latents after every step, as the sampler left them."""
    definition = CHECKPOINTS[case["checkpoint"]]
    kind = StableDiffusionXLPipeline if case["strength"] is None else StableDiffusionXLImg2ImgPipeline
    pipe = kind(
        scheduler=sampler_from(definition["scheduler"], case["sampler"], case["sigma_mode"]), **parts,
        force_zeros_for_empty_prompt=definition["force_zeros"], add_watermarker=False,
    )
    pipe.set_progress_bar_config(disable=True)
    width, height = case["size"]
    if case["strength"] is None:
        asked = {"width": width, "height": height}
    else:
        resized = picture.resize((width, height), Image.Resampling.LANCZOS)
        asked = {"image": [resized] * case["images"], "strength": case["strength"]}
    trace, decoded = [], []

    def after_step(_pipe, _index, _timestep, tensors):
        trace.append(tensors["latents"].clone())
        return {}

    handle = pipe.vae.decoder.register_forward_hook(lambda _module, _inputs, output: decoded.append(output))
    images = case["images"]
    pictures = pipe(
        prompt=[case["prompt"]] * images,
        negative_prompt=None if case["negative"] is None else [case["negative"]] * images,
        num_inference_steps=case["steps"], guidance_scale=case["guidance"], guidance_rescale=case["rescale"],
        generator=[torch.Generator("cpu").manual_seed(case["seed"] + index) for index in range(images)],
        callback_on_step_end=after_step, output_type="pil", **asked,
    ).images
    handle.remove()
    result = {
        "first_latents": trace[0], "latents": trace[-1], "evaluations": len(trace), "decoded": decoded[-1],
        "picture": torch.from_numpy(np.stack([np.array(one) for one in pictures])),
    }
    if case["strength"] is not None:
        result["resized"] = torch.from_numpy(np.array(resized))
    return result


def refuse_degenerate(name: str, picture: torch.Tensor, least_deviation: float = 15.0) -> None:
    """A flat or clipped picture would pass with any bug."""
    values = picture.float()
    clipped = ((picture == 0) | (picture == 255)).float().mean().item()
    if values.std().item() < least_deviation or clipped > 0.05:
        raise ValueError(f"{name}: std {values.std().item():.1f}, clipped {clipped:.3f}")


def generate(root: Path) -> None:
    directory = root / "pipeline"
    directory.mkdir(parents=True, exist_ok=True)
    picture = init_image()
    picture.save(directory / INIT_IMAGE, optimize=True)
    parts = {name: components(root, name) for name in CHECKPOINTS}
    for name, asked in CASES.items():
        case = {**DEFAULTS, **asked}
        keep_float = case.pop("float", False)
        result = rendered(parts[case["checkpoint"]], case, picture)
        refuse_degenerate(name, result["picture"])
        arrays = {key: result[key] for key in ("first_latents", "latents", "picture", "resized") if key in result}
        if keep_float:
            arrays["decoded"] = result["decoded"]
        width, height = case.pop("size")
        write_case(directory, name, {
            **case, "seed": str(case["seed"]), "width": width, "height": height, "evaluations": result["evaluations"],
            "init_image": None if case["strength"] is None else INIT_IMAGE,
        }, arrays)
