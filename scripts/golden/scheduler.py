"""A sampler by name, set up from a checkpoint's scheduler configuration the way diffusers' users do it."""

import torch
from diffusers import (
    DDIMScheduler,
    DPMSolverMultistepScheduler,
    EulerAncestralDiscreteScheduler,
    EulerDiscreteScheduler,
    HeunDiscreteScheduler,
    LCMScheduler,
    UniPCMultistepScheduler,
)

# The scheduler that SDXL base is published with. Keys that Euler does not know are there for other classes to find.
PUBLISHED = {
    "_class_name": "EulerDiscreteScheduler", "beta_end": 0.012, "beta_schedule": "scaled_linear", "beta_start": 0.00085,
    "clip_sample": False, "interpolation_type": "linear", "num_train_timesteps": 1000, "prediction_type": "epsilon",
    "sample_max_value": 1.0, "set_alpha_to_one": False, "skip_prk_steps": True, "steps_offset": 1,
    "timestep_spacing": "leading", "trained_betas": None, "use_karras_sigmas": False,
}
SAMPLERS = {
    "euler": (EulerDiscreteScheduler, {}),
    "euler_ancestral": (EulerAncestralDiscreteScheduler, {}),
    "heun": (HeunDiscreteScheduler, {}),
    "ddim": (DDIMScheduler, {}),
    "dpmpp_2m": (DPMSolverMultistepScheduler, {"algorithm_type": "dpmsolver++"}),
    "dpmpp_2m_sde": (DPMSolverMultistepScheduler, {"algorithm_type": "sde-dpmsolver++"}),
    "unipc": (UniPCMultistepScheduler, {}),
    "lcm": (LCMScheduler, {}),
}
STOCHASTIC = {"euler_ancestral", "dpmpp_2m_sde", "lcm"}
SIGMA_MODES = {"plain": {}, "karras": {"use_karras_sigmas": True}, "exponential": {"use_exponential_sigmas": True}}


def supports(sampler: str, key: str) -> bool:
    """Whether diffusers' class reads `key`; where it does not, it silently computes something else."""
    return key in SAMPLERS[sampler][0]._get_init_keys(SAMPLERS[sampler][0])


def sampler_from(config: dict, sampler: str, sigma_mode: str = "plain"):
    """Keys that `config` lacks take SDXL's published values; betas, spacing, offset and prediction type stay the checkpoint's."""
    source = EulerDiscreteScheduler.from_config({**PUBLISHED, **config, "_class_name": "EulerDiscreteScheduler"})
    kind, settings = SAMPLERS[sampler]
    return kind.from_config(source.config, **settings, **SIGMA_MODES[sigma_mode])


def takes_generator(scheduler) -> bool:
    return "generator" in scheduler.step.__code__.co_varnames


def stepped(scheduler, output: torch.Tensor, timestep, sample: torch.Tensor, generator) -> torch.Tensor:
    """One step, with the generator handed over where the pipelines would."""
    extra = {"generator": generator} if takes_generator(scheduler) else {}
    return scheduler.step(output, timestep, sample, **extra, return_dict=False)[0]
