"""Asks the exported model for a hundred pictures and judges them by their pixels."""

import argparse
import json
from pathlib import Path

import numpy
import torch
from diffusers import StableDiffusionXLPipeline
from PIL import Image

from .pictures import SIDE, caption, draw, fresh_source, random_subject
from .recogniser import Recogniser
from .train import REPOSITORY

PROMPTS = Path(__file__).with_name("prompts.json")
STEPS, GUIDANCE = 20, 3.0
SWAPS = 20
COLUMNS = 10


def load_pipeline(model):
    """f16 files, f32 arithmetic."""
    pipeline = StableDiffusionXLPipeline.from_pretrained(
        model, dtype=torch.float32, local_files_only=True, add_watermarker=False
    )
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def generate(pipeline, prompt, seed):
    result = pipeline(
        prompt,
        num_inference_steps=STEPS,
        guidance_scale=GUIDANCE,
        height=SIDE,
        width=SIDE,
        generator=torch.Generator("cpu").manual_seed(seed),
    )
    return numpy.asarray(result.images[0].convert("RGB"))


def judge(seen, wanted):
    """Right or wrong in each respect; what the prompt leaves open cannot be wrong."""
    return {
        "colours": seen["colours"] == {wanted["foreground"], wanted["background"]},
        "roles": (seen["foreground"], seen["background"]) == (wanted["foreground"], wanted["background"]),
        "shape": seen["shape"] == wanted["shape"],
        "size": wanted["size"] in (None, seen["size"]),
        "position": wanted["position"] in (None, seen["position"]),
    }


def evaluate(model, sheet, count):
    recogniser = Recogniser()
    pipeline = load_pipeline(model)
    wanted = json.loads(PROMPTS.read_text(encoding="utf-8"))[:count]
    tallies, pictures, overlaps = {}, [], []
    for entry in wanted:
        picture = generate(pipeline, entry["prompt"], entry["seed"])
        pictures.append(picture)
        seen = recogniser.look(picture)
        overlaps.append(seen["overlap"])
        verdict = judge(seen, entry)
        for respect, right in verdict.items():
            tallies[respect] = tallies.get(respect, 0) + right
        if not all(verdict.values()):
            wrong = [respect for respect, right in verdict.items() if not right]
            print(f"seed {entry['seed']} {entry['prompt']!r}: wrong {wrong}, seen {describe(seen)}", flush=True)
    print({respect: f"{right}/{len(wanted)}" for respect, right in tallies.items()})
    print(f"template overlap: mean {numpy.mean(overlaps):.3f}, least {min(overlaps):.3f}")
    save_sheet(pictures, sheet)
    check_swaps(pipeline, recogniser, wanted)


def describe(seen):
    return f"{seen['size']} {seen['foreground']} {seen['shape']} on {seen['background']}, {seen['position']}"


def check_swaps(pipeline, recogniser, wanted):
    """The same seed with another prompt must show the other prompt's shape and colours."""
    right = 0
    pairs = list(zip(wanted, wanted[1:]))[:SWAPS]
    for first, second in pairs:
        verdict = judge(recogniser.look(generate(pipeline, second["prompt"], first["seed"])), second)
        right += verdict["colours"] and verdict["shape"]
    print(f"another prompt under the same seed: {right}/{len(pairs)} show the other prompt")


def save_sheet(pictures, path):
    blank = numpy.zeros_like(pictures[0])
    padded = pictures + [blank] * (-len(pictures) % COLUMNS)
    rows = [numpy.concatenate(padded[start:start + COLUMNS], axis=1) for start in range(0, len(padded), COLUMNS)]
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(numpy.concatenate(rows)).save(path)


def check_recogniser(count):
    """How often the recogniser is right about pictures drawn by the generator itself."""
    recogniser, source = Recogniser(), fresh_source(21)
    tallies = {}
    for _ in range(count):
        subject = random_subject(source)
        verdict = judge(recogniser.look(draw(subject, source)), vars(subject))
        for respect, right in verdict.items():
            tallies[respect] = tallies.get(respect, 0) + right
    print({respect: f"{right}/{count}" for respect, right in tallies.items()})


def write_prompts(count=100):
    """Makes the committed list anew; it names both colours always, size and place as often as captions do."""
    source = fresh_source(2024)
    entries = []
    while len(entries) < count:
        subject = random_subject(source)
        text = caption(subject, source)
        if subject.foreground not in text or subject.background not in text:
            continue
        entries.append({
            "prompt": text,
            "shape": subject.shape,
            "foreground": subject.foreground,
            "background": subject.background,
            "size": subject.size if says_size(text) else None,
            "position": subject.position if says_position(text) else None,
            "seed": 1000 + len(entries),
        })
    PROMPTS.write_text(json.dumps(entries, indent=1) + "\n", encoding="utf-8")


def says_size(text):
    return any(word in text for word in ("small", "little", "tiny", "large", "big", "huge"))


def says_position(text):
    return any(word in text for word in ("left", "right", "cent", "middle"))


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", type=Path, default=REPOSITORY / "models" / "demo-sdxl")
    parser.add_argument("--sheet", type=Path, default=REPOSITORY / "target" / "demo_models" / "sheet.png")
    parser.add_argument("--count", type=int, default=100, help="how many of the prompts")
    parser.add_argument("--check-recogniser", type=int, metavar="N", help="judge N drawn pictures instead, and stop")
    parser.add_argument("--write-prompts", action="store_true", help="write prompts.json anew, and stop")
    arguments = parser.parse_args()
    torch.set_num_threads(2)
    if arguments.write_prompts:
        write_prompts()
    elif arguments.check_recogniser:
        check_recogniser(arguments.check_recogniser)
    else:
        evaluate(arguments.model, arguments.sheet, arguments.count)


if __name__ == "__main__":
    main()
