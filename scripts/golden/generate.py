"""Writes every fixture of the engine's golden tests into one folder."""

import argparse
import logging
import shutil
import time
import warnings
from pathlib import Path

import diffusers
import torch
import transformers

import checkpoint
import inpaint
import interpolate
import noise
import pipeline
import published
import sampler
import saved
import svd_components
import svd_pipeline
import svd_published
import svd_single_file
import text_encoder
import tokenizer
import unet
import upscale
import vae
from fixture import write_json
from weights import rule_fixture

# In order of need: text encoders read the tokenizers, pipelines read the saved checkpoint.
PARTS = [
    (tokenizer, "tokenizers"), (text_encoder, "text_encoder"), (unet, "unet"), (vae, "vae"), (noise, "noise"),
    (sampler, "sampler"), (checkpoint, "checkpoints"), (saved, "saved"), (pipeline, "pipeline"), (inpaint, "inpaint"),
    (published, "published"),
    (svd_components, "svd_components"), (svd_single_file, "svd_single_file"), (svd_pipeline, "svd_pipeline"),
    (svd_published, "svd_published"), (upscale, "upscale"), (interpolate, "interpolate"),
]


def quiet() -> None:
    """Schedulers warn about every key of the published configuration that they ignore: here that is the point."""
    warnings.filterwarnings("ignore", category=FutureWarning)
    for library in (diffusers, transformers):
        library.logging.set_verbosity_error()
        library.logging.disable_progress_bar()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("output", type=Path, help="folder of the fixtures")
    root = parser.parse_args().output.resolve()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    quiet()
    torch.set_num_threads(1)  # sums must not depend on how many cores the machine has
    write_json(root / "weights.json", rule_fixture())
    for part, folder in PARTS:
        started = time.monotonic()
        shutil.rmtree(root / folder, ignore_errors=True)
        part.generate(root)
        logging.info("%-14s %5.1f s", folder, time.monotonic() - started)


if __name__ == "__main__":
    main()
