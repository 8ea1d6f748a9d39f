"""The weight formula: every parameter of a golden model is a function of its name and its shape.

Storing the weights of a dozen tiny models would take tens of megabytes, and drawing them from torch's generator would
tie the Rust tests to torch's initialisers. A hash of the name needs neither: both languages compute the same bits.
"""

import math

import numpy as np
import torch

FNV_OFFSET = 0xCBF29CE484222325
FNV_PRIME = 0x100000001B3
GOLDEN_GAMMA = 0x9E3779B97F4A7C15
MASK = (1 << 64) - 1

NORM_SPREAD = 0.2
BIAS_SPREAD = 0.1
EMBEDDING_SPREAD = 0.5
OUTPUT_GAIN = 0.5
INPUT_SPREAD = 1.75  # times a uniform in [-1, 1): standard deviation 1.01, about what latents and embeddings have


def fnv1a64(text: str) -> int:
    """FNV-1a over the UTF-8 bytes of `text`."""
    value = FNV_OFFSET
    for byte in text.encode("utf-8"):
        value = ((value ^ byte) * FNV_PRIME) & MASK
    return value


def uniforms(name: str, count: int) -> np.ndarray:
    """`count` values in [0, 1): the top 24 bits of splitmix64's stream that starts at the hash of `name`."""
    index = np.arange(1, count + 1, dtype=np.uint64)
    with np.errstate(over="ignore"):
        z = np.uint64(fnv1a64(name)) + index * np.uint64(GOLDEN_GAMMA)
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        z = z ^ (z >> np.uint64(31))
    return (z >> np.uint64(40)).astype(np.float32) * np.float32(2.0**-24)


def filled(name: str, shape: tuple[int, ...], offset: float, scale: float) -> np.ndarray:
    """`offset + (2u - 1) * scale`, every operation rounded to f32; 2u - 1 is exact."""
    signed = np.float32(2.0) * uniforms(name, math.prod(shape)) - np.float32(1.0)
    return (np.float32(offset) + signed * np.float32(scale)).reshape(shape)


def offset_and_scale(name: str, shape: tuple[int, ...]) -> tuple[float, float]:
    """The rule. No parameter may keep a special value: a zero bias or a norm weight of one would hide its own loss."""
    if len(shape) == 1:
        return (1.0, NORM_SPREAD) if name.endswith(".weight") else (0.0, BIAS_SPREAD)
    if name.endswith(("token_embedding.weight", "position_embedding.weight")):
        return 0.0, EMBEDDING_SPREAD
    # Keeps the variance through the layer. The last convolutions get half of that, so that pictures do not clip.
    gain = OUTPUT_GAIN if name.endswith("conv_out.weight") else 1.0
    return 0.0, gain * math.sqrt(3.0 / math.prod(shape[1:]))


def parameter(name: str, shape: tuple[int, ...], salt: str = "") -> np.ndarray:
    """The parameter `name`. `salt` sets apart models that share names, such as the two text encoders."""
    return filled(salt + name, shape, *offset_and_scale(name, shape))


def input_tensor(name: str, shape: tuple[int, ...]) -> torch.Tensor:
    """An input of a golden case, from the same formula, so that only outputs are stored."""
    return torch.from_numpy(filled(name, shape, 0.0, INPUT_SPREAD))


def published_name(module: torch.nn.Module, name: str) -> str:
    """The name in published checkpoints: newer transformers builds a CLIPTextModel without the `text_model.` prefix."""
    bare = type(module).__name__ == "CLIPTextModel" and not name.startswith("text_model.")
    return "text_model." + name if bare else name


def manifest(module: torch.nn.Module) -> list[tuple[str, tuple[int, ...]]]:
    """Published name and shape of every tensor of `module`, in the module's order."""
    return [(published_name(module, name), tuple(value.shape)) for name, value in module.state_dict().items()]


@torch.no_grad()
def fill(module: torch.nn.Module, salt: str = "", stored: str = "f32") -> torch.nn.Module:
    """Gives every parameter its value; `stored="f16"` rounds it as a half-precision file would."""
    for name, value in module.state_dict().items():
        drawn = torch.from_numpy(parameter(published_name(module, name), tuple(value.shape), salt))
        value.copy_(drawn.half().float() if stored == "f16" else drawn)
    return module.eval()


def parameter_count(module: torch.nn.Module) -> int:
    """How many numbers the model holds; a cheap check that both sides build the same one."""
    return sum(math.prod(shape) for _, shape in manifest(module))


def rule_fixture() -> list[dict]:
    """The rule's own golden: the first values of one tensor of each kind, as exact decimal f32."""
    samples = [
        ("conv_in.weight", (32, 4, 3, 3), ""),
        ("conv_out.weight", (4, 32, 3, 3), ""),
        ("conv_norm_out.weight", (32,), ""),
        ("conv_norm_out.bias", (32,), ""),
        ("time_embedding.linear_1.weight", (128, 32), ""),
        ("text_model.embeddings.token_embedding.weight", (100, 32), ""),
        ("text_model.embeddings.position_embedding.weight", (77, 32), ""),
        ("text_projection.weight", (24, 40), "two_level/text_encoder_2/"),
    ]
    fixture = []
    for name, shape, salt in samples:
        offset, scale = offset_and_scale(name, shape)
        values = parameter(name, shape, salt).ravel()
        fixture.append({
            "name": name, "salt": salt, "shape": list(shape), "fnv1a64": f"{fnv1a64(salt + name):016x}",
            "offset": offset, "scale": scale,
            "first": [float(v) for v in values[:4]], "last": float(values[-1]),
        })
    return fixture
