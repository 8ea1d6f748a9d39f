"""Times diffusers on this machine: one UNet evaluation with guidance, or the decode of some frames, of full-size SVD.

Our own speed is judged against these numbers, so diffusers gets its better memory layout, its fused attention, and no gradients.
Weights are random: time does not depend on them as long as nothing turns into NaN or denormals.
"""

import argparse
import json
import statistics
import time
from pathlib import Path

import diffusers
import torch
from diffusers import AutoencoderKLTemporalDecoder, UNetSpatioTemporalConditionModel

from diffusers_bench import DTYPES, filled

PUBLISHED = Path(__file__).resolve().parents[2] / "crates" / "engine" / "tests" / "fixtures" / "svd_published"
NETWORKS = {"unet": UNetSpatioTemporalConditionModel, "vae": AutoencoderKLTemporalDecoder}
# Pictures and frames: temporal convolutions have five dimensions.
LAYOUTS = {
    "contiguous": (torch.contiguous_format, torch.contiguous_format),
    "channels_last": (torch.channels_last, torch.channels_last_3d),
}

# Same code paths in seconds instead of minutes, to try the script itself.
REDUCED = {
    "unet": {"block_out_channels": [32, 64, 64, 64], "num_attention_heads": [1, 2, 2, 2], "cross_attention_dim": 64},
    "vae": {"block_out_channels": [32, 32, 64, 64]},
}


def built(component: str, dtype: torch.dtype, reduced: bool) -> torch.nn.Module:
    """The network without torch's initialisers, which take longer than the measurement."""
    config = json.loads((PUBLISHED / f"{component}.json").read_text(encoding="utf-8"))
    config |= REDUCED[component] if reduced else {}
    with torch.device("meta"):
        network = NETWORKS[component](**{key: value for key, value in config.items() if not key.startswith("_")})
    return filled(network.to(dtype).to_empty(device="cpu")).eval()


def laid_out(network: torch.nn.Module, layout: str) -> torch.nn.Module:
    """Gives the weights of convolutions the layout of their kind."""
    planes, frames = LAYOUTS[layout]
    for module in network.modules():
        if isinstance(module, torch.nn.Conv2d):
            module.to(memory_format=planes)
        elif isinstance(module, torch.nn.Conv3d):
            module.to(memory_format=frames)
    return network


def work(component: str, network: torch.nn.Module, asked: argparse.Namespace, layout: str):
    """A call that does the measured work once."""
    dtype, config = network.dtype, network.config
    generator = torch.Generator().manual_seed(1)

    def normal(*shape: int) -> torch.Tensor:
        return torch.randn(shape, generator=generator).to(dtype)

    height, width = asked.height // 8, asked.width // 8
    if component == "vae":
        latents = normal(asked.frames, config.latent_channels, height, width).to(memory_format=LAYOUTS[layout][0])
        return lambda: network.decode(latents, num_frames=asked.frames).sample
    sample = normal(2, asked.frames, config.in_channels, height, width)
    context = normal(2, 1, config.cross_attention_dim)
    ids = torch.tensor([[6.0, 127.0, 0.02]] * 2, dtype=dtype)
    return lambda: network(sample, 1.0, encoder_hidden_states=context, added_time_ids=ids).sample


def timed(call, repeats: int) -> tuple[list[float], list[float]]:
    """Seconds of the clock and of the processor for each call after one that is not counted."""
    if not torch.isfinite(call()).all():
        raise ValueError("the output is not finite: the time would mean nothing")
    clock, processor = [], []
    for _ in range(repeats):
        started, before = time.perf_counter(), time.process_time()
        call()
        clock.append(time.perf_counter() - started)
        processor.append(time.process_time() - before)
    return clock, processor


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--component", choices=NETWORKS, required=True)
    parser.add_argument("--precision", choices=DTYPES, default="f32")
    parser.add_argument("--layout", choices=[*LAYOUTS, "both"], default="both")
    parser.add_argument("--repeats", type=int, default=1)
    parser.add_argument("--width", type=int, default=448, help="pixels")
    parser.add_argument("--height", type=int, default=256, help="pixels")
    parser.add_argument("--frames", type=int, default=14)
    parser.add_argument("--threads", type=int, default=0, help="0: as many as torch takes by itself")
    parser.add_argument("--reduced", action="store_true", help="a tiny network, to try the script")
    asked = parser.parse_args()
    diffusers.logging.set_verbosity_error()
    if asked.threads:
        torch.set_num_threads(asked.threads)
    network = built(asked.component, DTYPES[asked.precision], asked.reduced)
    common = {"component": asked.component, "precision": asked.precision, "width": asked.width, "height": asked.height,
              "frames": asked.frames, "threads": torch.get_num_threads(), "repeats": asked.repeats, "reduced": asked.reduced,
              "torch": torch.__version__}
    records = []
    with torch.inference_mode():
        for layout in LAYOUTS if asked.layout == "both" else [asked.layout]:
            laid_out(network, layout)
            clock, processor = timed(work(asked.component, network, asked, layout), asked.repeats)
            records.append({**common, "layout": layout, "seconds": statistics.median(clock), "all_seconds": clock,
                            "processor_seconds": statistics.median(processor)})
            print(json.dumps(records[-1]), flush=True)
    # Once more, the best one last.
    print(json.dumps(min(records, key=lambda record: record["processor_seconds"])), flush=True)


if __name__ == "__main__":
    main()
