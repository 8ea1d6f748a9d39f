"""Whole pictures of which a mask says what is repainted: diffusers' SDXL inpainting pipeline on the tiny checkpoints."""

from pathlib import Path

import numpy as np
import torch
from diffusers import StableDiffusionXLInpaintPipeline
from PIL import Image

from checkpoint import CHECKPOINTS
from fixture import write_case
from pipeline import DEFAULTS, INIT_IMAGE, NEGATIVE, OTHER, components, init_image, refuse_degenerate
from scheduler import sampler_from

# Masks of other sizes than the picture and the request, so that both are resized.
MASKS = {"ring.png": (70, 50), "strokes.png": (37, 53)}

# Four channels: what is kept is put back after every evaluation. Nine: the network is shown what is kept.
CASES = {
    "blend_euler": {"checkpoint": "two_level", "sampler": "euler", "steps": 5, "size": (48, 32), "strength": 1.0},
    "blend_euler_unguided": {
        "checkpoint": "two_level", "sampler": "euler", "steps": 10, "size": (40, 32), "strength": 0.6, "guidance": 1.0,
        "mask": "strokes.png"},
    "blend_heun": {
        "checkpoint": "two_level", "sampler": "heun", "steps": 5, "size": (48, 40), "strength": 0.6, "negative": NEGATIVE},
    "blend_dpmpp_2m_batch": {
        "checkpoint": "three_level", "sampler": "dpmpp_2m", "steps": 6, "size": (64, 48), "strength": 0.6, "images": 2,
        "prompt": OTHER, "mask": "strokes.png"},
    "blend_dpmpp_2m_unguided": {
        "checkpoint": "three_level", "sampler": "dpmpp_2m", "steps": 6, "size": (72, 56), "strength": 1.0, "guidance": 1.0},
    "blend_unipc": {
        "checkpoint": "three_level", "sampler": "unipc", "steps": 7, "size": (72, 48), "strength": 0.6, "mask": "strokes.png"},
    "blend_ddim": {"checkpoint": "zero_snr", "sampler": "ddim", "steps": 6, "size": (40, 24), "strength": 0.6, "rescale": 0.7},
    "blend_sde_karras_batch": {
        "checkpoint": "zero_snr", "sampler": "dpmpp_2m_sde", "sigma_mode": "karras", "steps": 5, "size": (32, 40),
        "strength": 0.6, "images": 2, "negative": NEGATIVE},
    "blend_euler_ancestral": {
        "checkpoint": "conv_projection", "sampler": "euler_ancestral", "steps": 4, "size": (32, 24), "strength": 1.0},
    "blend_lcm": {
        "checkpoint": "conv_projection", "sampler": "lcm", "steps": 6, "size": (40, 32), "guidance": 1.5, "strength": 0.6},
    "concatenated_euler": {"checkpoint": "inpainting", "sampler": "euler", "steps": 5, "size": (48, 32), "strength": 1.0},
    "concatenated_euler_unguided": {
        "checkpoint": "inpainting", "sampler": "euler", "steps": 10, "size": (40, 32), "strength": 0.6, "guidance": 1.0,
        "mask": "strokes.png"},
    "concatenated_dpmpp_2m": {
        "checkpoint": "inpainting", "sampler": "dpmpp_2m", "steps": 8, "size": (32, 48), "strength": 0.6, "negative": NEGATIVE,
        "mask": "strokes.png"},
    "concatenated_dpmpp_2m_unguided": {
        "checkpoint": "inpainting", "sampler": "dpmpp_2m", "steps": 6, "size": (32, 40), "strength": 1.0, "guidance": 1.0},
    "concatenated_euler_ancestral_batch": {
        "checkpoint": "inpainting", "sampler": "euler_ancestral", "steps": 5, "size": (40, 32), "strength": 0.6, "images": 2,
        "prompt": OTHER},
    "concatenated_sde": {"checkpoint": "inpainting", "sampler": "dpmpp_2m_sde", "steps": 5, "size": (32, 32), "strength": 1.0},
}


def mask_image(name: str) -> Image.Image:
    """White is repainted. Greys lie on both sides of one half; edges do not fall on the latents' grid."""
    width, height = MASKS[name]
    y, x = np.mgrid[0:height, 0:width]
    if name == "ring.png":
        distance = np.hypot((x - 31) / 1.3, y - 24)
        mask = 255 * ((distance > 7) & (distance < 17))
        mask[:, 58:] = 8 * y[:, 58:] % 256
        mask[20, 60], mask[30, 60] = 127, 128
    else:
        mask = 255 * (((x + 2 * y) % 37 < 13) | (np.abs(x - 30) < 3))
    return Image.fromarray(mask.astype(np.uint8), "L")


def rendered(parts: dict, case: dict, picture: Image.Image, mask: Image.Image) -> dict[str, torch.Tensor]:
    """One run: what the network sees first, and latents after every evaluation, as they go into the next."""
    definition = CHECKPOINTS[case["checkpoint"]]
    pipe = StableDiffusionXLInpaintPipeline(
        scheduler=sampler_from(definition["scheduler"], case["sampler"], case["sigma_mode"]), **parts,
        force_zeros_for_empty_prompt=definition["force_zeros"], add_watermarker=False,
    )
    pipe.set_progress_bar_config(disable=True)
    (width, height), images = case["size"], case["images"]
    trace, seen = [], []

    def after_step(_pipe, _index, _timestep, tensors):
        trace.append(tensors["latents"].clone())
        return {}

    handle = pipe.unet.register_forward_pre_hook(lambda _module, inputs: seen.append(inputs[0].clone()))
    pictures = pipe(
        prompt=[case["prompt"]] * images,
        negative_prompt=None if case["negative"] is None else [case["negative"]] * images,
        image=[picture] * images, mask_image=[mask] * images, width=width, height=height, strength=case["strength"],
        num_inference_steps=case["steps"], guidance_scale=case["guidance"], guidance_rescale=case["rescale"],
        generator=[torch.Generator("cpu").manual_seed(case["seed"] + index) for index in range(images)],
        callback_on_step_end=after_step, output_type="pil",
    ).images
    handle.remove()
    return {
        # Rows of the negative prompt come first, and see the same.
        "first_input": seen[0][-images:], "first_latents": trace[0], "latents": trace[-1], "evaluations": len(trace),
        "mask": pipe.mask_processor.preprocess(mask, height=height, width=width)[0, 0].to(torch.uint8),
        "picture": torch.from_numpy(np.stack([np.array(one) for one in pictures])),
    }


def generate(root: Path) -> None:
    directory = root / "inpaint"
    directory.mkdir(parents=True, exist_ok=True)
    picture = init_image()
    picture.save(directory / INIT_IMAGE, optimize=True)
    masks = {name: mask_image(name) for name in MASKS}
    for name, mask in masks.items():
        mask.save(directory / name, optimize=True)
    parts = {name: components(root, name) for name in {case["checkpoint"] for case in CASES.values()}}
    for name, asked in CASES.items():
        case = {**DEFAULTS, "mask": "ring.png", **asked}
        result = rendered(parts[case["checkpoint"]], case, picture, masks[case["mask"]])
        refuse_degenerate(name, result["picture"])
        evaluations = result.pop("evaluations")
        width, height = case.pop("size")
        write_case(directory, name, {
            **case, "seed": str(case["seed"]), "width": width, "height": height, "evaluations": evaluations,
            "init_image": INIT_IMAGE,
        }, result)
