"""Runs the whole training, or the named stages of it; a second run continues the first."""

import argparse
from pathlib import Path

import torch

REPOSITORY = Path(__file__).resolve().parents[2]
STAGES = ["tokenizer", "vae", "latents", "unet", "export"]


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--all", action="store_true", help="every stage in order")
    parser.add_argument("--stage", action="append", choices=STAGES, default=[], help="this stage; may be repeated")
    parser.add_argument("--work", type=Path, default=REPOSITORY / "target" / "demo_models", help="checkpoints and logs")
    parser.add_argument("--model", type=Path, default=REPOSITORY / "models" / "demo-sdxl", help="where the model is written")
    parser.add_argument("--vae-minutes", type=float, default=18.0)
    parser.add_argument("--unet-minutes", type=float, default=80.0)
    parser.add_argument("--latents", type=int, default=32000, help="how many pictures are encoded for the UNet")
    parser.add_argument("--threads", type=int, default=2)
    arguments = parser.parse_args()
    stages = STAGES if arguments.all else arguments.stage
    if not stages:
        parser.error("name a stage, or --all")

    torch.set_num_threads(arguments.threads)
    arguments.work.mkdir(parents=True, exist_ok=True)
    for stage in STAGES:
        if stage in stages:
            print(f"stage {stage}", flush=True)
            run_stage(stage, arguments)


def run_stage(stage, arguments):
    """Imports late, so that a stage needs nothing of the others."""
    if stage == "tokenizer":
        from . import tokenizer
        tokenizer.write_both(arguments.work)
    elif stage == "vae":
        from . import train_vae
        train_vae.train(arguments.work, arguments.vae_minutes)
    elif stage == "latents":
        from . import latents
        latents.encode_all(arguments.work, arguments.latents)
    elif stage == "unet":
        from . import train_unet
        train_unet.train(arguments.work, arguments.unet_minutes)
    elif stage == "export":
        from . import export
        export.export(arguments.work, arguments.model)


if __name__ == "__main__":
    main()
