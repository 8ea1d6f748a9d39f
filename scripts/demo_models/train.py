"""Runs the whole training of a model, or the named stages of it; a second run continues the first."""

import argparse
from pathlib import Path

import torch

from . import progress

REPOSITORY = Path(__file__).resolve().parents[2]
STAGES = {
    "demo-sdxl": ["tokenizer", "vae", "latents", "unet", "export"],
    "demo-svd": ["clips", "video-vae", "video-unet", "video-export"],
}


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", choices=STAGES, default="demo-sdxl", help="which model; demo-svd needs a finished demo-sdxl")
    parser.add_argument("--all", action="store_true", help="every stage of the model in order")
    parser.add_argument("--stage", action="append", default=[], help=f"this stage of the model; may be repeated: {STAGES}")
    parser.add_argument("--work", type=Path, default=REPOSITORY / "target" / "demo_models", help="checkpoints and logs")
    parser.add_argument("--models", type=Path, default=REPOSITORY / "models", help="the folder of both models")
    parser.add_argument("--vae-minutes", type=float, default=18.0)
    parser.add_argument("--unet-minutes", type=float, default=80.0)
    parser.add_argument("--latents", type=int, default=32000, help="how many pictures are encoded for the UNet")
    parser.add_argument("--video-vae-minutes", type=float, default=48.0)
    parser.add_argument("--video-unet-minutes", type=float, default=105.0)
    parser.add_argument("--takes", type=int, default=1000, help="how many moving scenes are encoded for the video UNet")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--processor-time", action="store_true", help="minutes are of processor time: for a machine with other work")
    arguments = parser.parse_args()
    known = STAGES[arguments.model]
    stages = known if arguments.all else arguments.stage
    if not stages:
        parser.error("name a stage, or --all")
    strangers = [stage for stage in stages if stage not in known]
    if strangers:
        parser.error(f"{arguments.model} has the stages {known}, not {strangers}")

    torch.set_num_threads(arguments.threads)
    if arguments.processor_time:
        progress.Run.clock = staticmethod(progress.processor_clock)
    arguments.work.mkdir(parents=True, exist_ok=True)
    for stage in known:
        if stage in stages:
            print(f"stage {stage}", flush=True)
            run_stage(stage, arguments)


def run_stage(stage, arguments):
    """Imports late, so that a stage needs nothing of the others."""
    work, target = arguments.work, arguments.models / arguments.model
    if stage == "tokenizer":
        from . import tokenizer
        tokenizer.write_both(work)
    elif stage == "vae":
        from . import train_vae
        train_vae.train(work, arguments.vae_minutes)
    elif stage == "latents":
        from . import latents
        latents.encode_all(work, arguments.latents)
    elif stage == "unet":
        from . import train_unet
        train_unet.train(work, arguments.unet_minutes)
    elif stage == "export":
        from . import export
        export.export(work, target)
    else:
        run_video_stage(stage, arguments, work, target)


def run_video_stage(stage, arguments, work, target):
    """The video model starts from the picture model's autoencoder as it is published."""
    from .train_video_vae import load_teacher
    teacher = load_teacher(arguments.models / "demo-sdxl")
    if stage == "clips":
        from . import clip_latents
        clip_latents.encode_all(work, teacher, arguments.takes)
    elif stage == "video-vae":
        from . import train_video_vae
        train_video_vae.train(work, teacher, arguments.video_vae_minutes)
    elif stage == "video-unet":
        from . import train_video_unet
        train_video_unet.train(work, teacher, arguments.video_unet_minutes)
    elif stage == "video-export":
        from . import export_video
        export_video.export(work, target, teacher)


if __name__ == "__main__":
    main()
