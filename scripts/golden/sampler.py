"""Samplers alone: tables and trajectories for model outputs that are given, not computed.

The outputs do not depend on the sample, so an error in one step stays visible in the next and cannot be amplified by a
network into noise. Latents are 16 numbers: arithmetic is per element, and 16 is where torch's normal path begins.
"""

from pathlib import Path

import torch

from fixture import write_arrays, write_case
from scheduler import PUBLISHED, SAMPLERS, SIGMA_MODES, STOCHASTIC, sampler_from, stepped, supports
from svd_scheduler import PUBLISHED as SVD
from weights import input_tensor

SHAPE = (1, 4, 2, 2)
SEED = 17
DRAWS = 30
STEPS = (1, 2, 4, 10, 20, 30)
SVD_STEPS = (2, 8, 25, 30)
SPACINGS = ("leading", "trailing", "linspace")
# Longer runs keep their last sample only.
TRAJECTORY_LIMIT = 10
ZERO_SNR = {"rescale_betas_zero_snr": True, "timestep_spacing": "trailing", "prediction_type": "v_prediction"}


def requests(sampler: str) -> list[dict]:
    """Everything asked of one sampler. `strength` below 1 means image to image."""
    modes = [mode for mode in SIGMA_MODES if mode == "plain" or supports(sampler, *SIGMA_MODES[mode])]
    spacings = SPACINGS if sampler != "lcm" else SPACINGS[:1]  # LCM has a grid of its own
    asked = []
    for spacing in spacings:
        for mode in modes:
            config = {"timestep_spacing": spacing}
            asked += [{"config": config, "sigma_mode": mode, "steps": steps} for steps in STEPS]
            asked += [{"config": config, "sigma_mode": mode, "steps": steps, "strength": 0.6} for steps in (5, 10)]
            velocity = {**config, "prediction_type": "v_prediction"}
            asked += [{"config": velocity, "sigma_mode": mode, "steps": steps} for steps in (1, 4, 10)]
    asked.append({"config": {"timestep_spacing": "leading"}, "sigma_mode": "plain", "steps": 20, "strength": 0.3})
    if sampler != "euler_ancestral":  # diffusers' class refuses this prediction type
        asked.append({"config": {"timestep_spacing": "leading", "prediction_type": "sample"}, "sigma_mode": "plain", "steps": 4})
    if supports(sampler, "rescale_betas_zero_snr"):
        for mode in modes:
            asked += [{"config": ZERO_SNR, "sigma_mode": mode, "steps": steps} for steps in (1, 2, 4, 10, 20)]
            asked.append({"config": ZERO_SNR, "sigma_mode": mode, "steps": 10, "strength": 0.6})
    return asked


def svd_requests() -> list[dict]:
    """Euler's method as SVD's checkpoint sets it up: Karras' sigmas from 700 down, timesteps that are logarithms of them."""
    return [{"config": SVD, "sigma_mode": "plain", "steps": steps} for steps in SVD_STEPS]


def run(sampler: str, request: dict) -> dict[str, torch.Tensor]:
    """One run in the order of diffusers' SDXL pipelines."""
    scheduler = sampler_from(request["config"], sampler, request["sigma_mode"])
    steps, strength = request["steps"], request.get("strength")
    scheduler.set_timesteps(steps)
    timesteps = table = scheduler.timesteps
    if hasattr(scheduler, "set_begin_index"):
        scheduler.set_begin_index(0)
    initial, clean = input_tensor("input.initial", SHAPE), input_tensor("input.clean", SHAPE)
    if strength is None:
        sample = initial * scheduler.init_noise_sigma
    else:
        first = max(steps - min(int(steps * strength), steps), 0) * scheduler.order
        timesteps = timesteps[first:]
        if hasattr(scheduler, "set_begin_index"):
            scheduler.set_begin_index(first)
        sample = scheduler.add_noise(clean, initial, timesteps[:1])
    generator = torch.Generator("cpu").manual_seed(SEED)
    start, samples, scaled = sample, [], []
    for index, timestep in enumerate(timesteps):
        scaled.append(scheduler.scale_model_input(sample, timestep).flatten())
        output = input_tensor(f"input.output.{index}", SHAPE)
        sample = stepped(scheduler, output, timestep, sample, generator)
        samples.append(sample.flatten())
    return {
        "timesteps": table.float(), "sigmas": getattr(scheduler, "sigmas", torch.empty(0)).float(),
        "init_noise_sigma": float(scheduler.init_noise_sigma), "evaluations": len(timesteps),
        "start": start.flatten(), "scaled": scaled[min(1, len(scaled) - 1)],
        "samples": samples if steps <= TRAJECTORY_LIMIT else samples[-1:],
    }


def generate_one(root: Path, name: str, sampler: str, asked: list[dict]) -> None:
    """All runs of one sampler, in arrays shared by the file: a case says which rows are its own."""
    cases, timesteps, sigmas, starts, scaled, samples = [], [], [], [], [], []
    for request in asked:
        result = run(sampler, request)
        cases.append({
            **request, "init_noise_sigma": result["init_noise_sigma"], "evaluations": result["evaluations"],
            "timesteps": [len(timesteps), len(timesteps) + len(result["timesteps"])],
            "sigmas": [len(sigmas), len(sigmas) + len(result["sigmas"])],
            "samples": [len(samples), len(samples) + len(result["samples"])],
        })
        timesteps += result["timesteps"].tolist()
        sigmas += result["sigmas"].tolist()
        samples += result["samples"]
        starts.append(result["start"])
        scaled.append(result["scaled"])
    kind, settings = SAMPLERS[sampler]
    arrays = {"timesteps": torch.tensor(timesteps), "samples": torch.stack(samples), "start": torch.stack(starts),
              "scaled": torch.stack(scaled)}
    if sigmas:  # DDIM and LCM have none
        arrays["sigmas"] = torch.tensor(sigmas)
    write_case(root / "sampler", name, {
        "class": kind.__name__, "settings": settings, "base_config": PUBLISHED, "shape": list(SHAPE),
        "seed": SEED if sampler in STOCHASTIC else None, "cases": cases,
    }, arrays)


def generate(root: Path) -> None:
    generator = torch.Generator("cpu").manual_seed(SEED)
    draws = torch.stack([torch.randn(SHAPE, generator=generator).flatten() for _ in range(DRAWS)])
    write_arrays(root / "sampler" / "noise.safetensors", {"noise": draws})
    for sampler in SAMPLERS:
        generate_one(root, sampler, sampler, requests(sampler))
    generate_one(root, "svd_euler", "euler", svd_requests())
