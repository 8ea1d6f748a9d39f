"""Times diffusers on this machine: one UNet evaluation with guidance, or one VAE decode, of full-size SDXL.

Our own speed is judged against these numbers, so diffusers gets its better memory format. Weights are random: time does
not depend on them as long as nothing turns into NaN or denormals.
"""

import argparse
import json
import statistics
import time
from pathlib import Path

import diffusers
import torch
from diffusers import AutoencoderKL, UNet2DConditionModel

PUBLISHED = Path(__file__).resolve().parents[2] / "crates" / "engine" / "tests" / "fixtures" / "published"
NETWORKS = {"unet": UNet2DConditionModel, "vae": AutoencoderKL}
DTYPES = {"f32": torch.float32, "bf16": torch.bfloat16}
FORMATS = {"contiguous": torch.contiguous_format, "channels_last": torch.channels_last}
POOL = 1 << 20
TOKENS = 77

# Same code paths in a second instead of minutes, to try the script itself.
REDUCED = {
    "unet": {"block_out_channels": [32, 64, 128], "attention_head_dim": [1, 2, 4], "transformer_layers_per_block": [1, 1, 2],
             "cross_attention_dim": 64, "addition_time_embed_dim": 8, "projection_class_embeddings_input_dim": 80},
    "vae": {"block_out_channels": [32, 32, 64, 64]},
}


def built(component: str, dtype: torch.dtype, reduced: bool) -> torch.nn.Module:
    """The network without torch's initialisers, which take longer than the measurement."""
    config = json.loads((PUBLISHED / f"{component}.json").read_text(encoding="utf-8"))
    config |= REDUCED[component] if reduced else {}
    with torch.device("meta"):
        network = NETWORKS[component](**{key: value for key, value in config.items() if not key.startswith("_")})
    return filled(network.to(dtype).to_empty(device="cpu")).eval()


@torch.no_grad()
def filled(network: torch.nn.Module) -> torch.nn.Module:
    """Repeats one pool of normal numbers, scaled by fan-in so that activations stay near one."""
    pool = torch.randn(POOL, generator=torch.Generator().manual_seed(0))
    for name, parameter in network.named_parameters():
        if parameter.dim() == 1:
            parameter.fill_(1.0 if name.endswith(".weight") else 0.0)
            continue
        fan_in = parameter.numel() // parameter.shape[0]
        values = (pool * fan_in**-0.5).to(parameter.dtype)
        flat = parameter.view(-1)
        whole = flat.numel() // POOL * POOL
        flat[:whole].view(-1, POOL).copy_(values.expand(whole // POOL, POOL))
        flat[whole:].copy_(values[: flat.numel() - whole])
    return network


def work(component: str, network: torch.nn.Module, size: int, memory_format: torch.memory_format):
    """A call that does the measured work once."""
    dtype, config = network.dtype, network.config
    generator = torch.Generator().manual_seed(1)

    def normal(*shape: int) -> torch.Tensor:
        return torch.randn(shape, generator=generator).to(dtype)

    side = size // 8
    if component == "vae":
        latents = normal(1, 4, side, side).to(memory_format=memory_format)
        return lambda: network.decode(latents).sample
    sample = normal(2, 4, side, side).to(memory_format=memory_format)
    context = normal(2, TOKENS, config.cross_attention_dim)
    pooled = normal(2, config.projection_class_embeddings_input_dim - 6 * config.addition_time_embed_dim)
    added = {"text_embeds": pooled, "time_ids": torch.tensor([[size, size, 0, 0, size, size]] * 2, dtype=dtype)}
    return lambda: network(sample, 500, encoder_hidden_states=context, added_cond_kwargs=added).sample


def seconds(call, repeats: int) -> list[float]:
    """Wall time of each call after one that is not counted."""
    if not torch.isfinite(call()).all():
        raise ValueError("the output is not finite: the time would mean nothing")
    taken = []
    for _ in range(repeats):
        started = time.perf_counter()
        call()
        taken.append(time.perf_counter() - started)
    return taken


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--component", choices=NETWORKS, required=True)
    parser.add_argument("--dtype", choices=DTYPES, default="f32")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--size", type=int, default=512, help="side of the picture in pixels")
    parser.add_argument("--threads", type=int, default=0, help="0: as many as torch takes by itself")
    parser.add_argument("--reduced", action="store_true", help="a tiny network, to try the script")
    asked = parser.parse_args()
    diffusers.logging.set_verbosity_error()
    if asked.threads:
        torch.set_num_threads(asked.threads)
    network = built(asked.component, DTYPES[asked.dtype], asked.reduced)
    common = {"component": asked.component, "dtype": asked.dtype, "size": asked.size, "threads": torch.get_num_threads(),
              "repeats": asked.repeats, "reduced": asked.reduced, "torch": torch.__version__}
    medians = {}
    with torch.inference_mode():
        for name, memory_format in FORMATS.items():
            network.to(memory_format=memory_format)
            taken = seconds(work(asked.component, network, asked.size, memory_format), asked.repeats)
            medians[name] = statistics.median(taken)
            print(json.dumps({**common, "memory_format": name, "seconds": medians[name], "fastest": min(taken)}), flush=True)
    best = min(medians, key=medians.get)
    print(json.dumps({**common, "best": best, "seconds": medians[best]}), flush=True)


if __name__ == "__main__":
    main()
