"""Asks the exported video model for clips of drawn first frames and measures what moves, and how fast."""

import argparse
import json
import math
import time
from pathlib import Path

import numpy
import torch
from diffusers import StableVideoDiffusionPipeline
from PIL import Image

from .clips import Mover, Scene, draw_clip, drawn_place
from .pictures import PALETTE, POSITIONS, SHAPES, SIDE, SIZES, fresh_source, jittered_colour
from .recogniser import Recogniser
from .train import REPOSITORY
from .video_networks import FRAMES

BUCKETS = (20, 127, 250)
NOISE_STRENGTH = 0.02


def load_pipeline(model):
    """f16 files, f32 arithmetic."""
    pipeline = StableVideoDiffusionPipeline.from_pretrained(model, dtype=torch.float32, local_files_only=True)
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def generate(pipeline, defaults, picture, bucket, seed):
    """The frames of a clip that goes on from a uint8 picture, with the model's default settings."""
    result = pipeline(
        Image.fromarray(picture),
        height=SIDE,
        width=SIDE,
        num_frames=FRAMES,
        num_inference_steps=defaults["default_steps"],
        min_guidance_scale=defaults["default_min_guidance_scale"],
        max_guidance_scale=defaults["default_max_guidance_scale"],
        fps=defaults["default_fps"],
        motion_bucket_id=bucket,
        noise_aug_strength=NOISE_STRENGTH,
        generator=torch.Generator("cpu").manual_seed(seed),
    )
    return [numpy.asarray(frame.convert("RGB")) for frame in result.frames[0]]


def evaluation_scene(source):
    """What the picture model draws: one shape in one of its places."""
    foreground, background = source.sample(list(PALETTE), 2)
    size_name, shape = source.choice(list(SIZES)), source.choice(SHAPES)
    start = drawn_place(size_name, source.choice(list(POSITIONS)), source)
    size = SIZES[size_name] + source.uniform(-3.0, 3.0)
    colours = [tuple(float(value) for value in jittered_colour(name, source)) for name in (foreground, background)]
    return Scene(colours[1], (Mover(shape, size, colours[0], start),))


def decibels(made, wanted):
    """Peak signal-to-noise ratio of two uint8 pictures or clips."""
    error = numpy.square(numpy.asarray(made, dtype=numpy.float64) - numpy.asarray(wanted)).mean()
    return 10 * math.log10(255 ** 2 / max(error, 1e-9))


def track(frames, scene):
    """The shape's centroid in each frame, in pixels: every pixel counts by how far it is from background to shape."""
    background, foreground = numpy.array(scene.background), numpy.array(scene.movers[0].colour)
    axis = foreground - background
    places = []
    for frame in frames:
        share = ((frame - background) @ axis / (axis @ axis)).clip(0, 1)
        share[share < 0.5] = 0
        total = max(share.sum(), 1e-6)
        ramp = numpy.arange(SIDE) + 0.5
        places.append((share.sum(0) @ ramp / total, share.sum(1) @ ramp / total))
    return numpy.array(places)


def measure(recogniser, frames, scene, bucket):
    """Figures of one clip against the one that the training program would have drawn."""
    wanted = draw_clip(scene, bucket, FRAMES)
    seen, drawn = track(frames, scene), track(wanted, scene)
    first, last = recogniser.look(wanted[0]), recogniser.look(frames[-1])
    steps, drawn_steps = (numpy.hypot(*numpy.diff(places, axis=0).T) for places in (seen, drawn))
    return {
        "first frame dB": decibels(frames[0], wanted[0]),
        "clip dB": decibels(frames, wanted),
        "pixels a frame": steps.mean(),
        "drawn pixels a frame": drawn_steps.mean(),
        "way from first to last": numpy.hypot(*(seen[-1] - seen[0])),
        "distance from drawn place": numpy.hypot(*(seen - drawn).T).mean(),
        "colours kept": float(last["colours"] == first["colours"]),
        "shape kept": float(last["shape"] == first["shape"]),
    }


def print_means(title, rows):
    means = {key: round(float(numpy.mean([row[key] for row in rows])), 2) for key in rows[0]}
    print(title, json.dumps(means), flush=True)


def evaluate(model, sheet, count, chained):
    pipeline, recogniser = load_pipeline(model), Recogniser()
    defaults = json.loads((model / "framewright.json").read_text(encoding="utf-8"))
    source = fresh_source(4242)
    rows, figures, rising, seconds = [], {bucket: [] for bucket in BUCKETS}, 0, []
    for index in range(count):
        scene = evaluation_scene(source)
        speeds = []
        for bucket in BUCKETS:
            begun = time.monotonic()
            frames = generate(pipeline, defaults, draw_clip(scene, bucket, 1)[0], bucket, index)
            seconds.append(time.monotonic() - begun)
            figures[bucket].append(measure(recogniser, frames, scene, bucket))
            speeds.append(figures[bucket][-1]["pixels a frame"])
            rows.append(numpy.concatenate(frames, axis=1))
        rising += speeds == sorted(speeds)
    for bucket in BUCKETS:
        print_means(f"bucket {bucket}", figures[bucket])
    print(f"speed rises with the bucket in {rising} of {count} scenes; {numpy.mean(seconds):.1f} s a clip", flush=True)
    for index in range(chained):
        rows += chain(pipeline, defaults, recogniser, evaluation_scene(source), index)
    sheet.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(numpy.concatenate(rows)).save(sheet)


def chain(pipeline, defaults, recogniser, scene, seed, clips=3):
    """Clips that each go on from the last frame of the one before."""
    bucket = defaults["default_motion_bucket_id"]
    wanted = draw_clip(scene, bucket, clips * (FRAMES - 1) + 1)
    picture, frames = wanted[0], []
    for part in range(clips):
        made = generate(pipeline, defaults, picture, bucket, seed + part)
        frames += made if part == 0 else made[1:]
        picture = made[-1]
    seen, drawn = track(frames, scene), track(wanted, scene)
    first, last = recogniser.look(wanted[0]), recogniser.look(frames[-1])
    print(
        f"chain of {clips}: {numpy.hypot(*numpy.diff(seen, axis=0).T).mean():.2f} pixels a frame, "
        f"distance from drawn place at the ends {[round(float(numpy.hypot(*(seen[k] - drawn[k]))), 1) for k in (13, 26, 39)]}, "
        f"colours kept {last['colours'] == first['colours']}, shape kept {last['shape'] == first['shape']}", flush=True,
    )
    return [numpy.concatenate(frames[start:start + FRAMES], axis=1) for start in range(0, clips * (FRAMES - 1), FRAMES - 1)]


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", type=Path, default=REPOSITORY / "models" / "demo-svd")
    parser.add_argument("--sheet", type=Path, default=REPOSITORY / "target" / "demo_models" / "video-sheet.png")
    parser.add_argument("--count", type=int, default=20, help="how many first frames; each is moved at three speeds")
    parser.add_argument("--chains", type=int, default=3, help="how many films of three clips")
    parser.add_argument("--threads", type=int, default=2)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    evaluate(arguments.model, arguments.sheet, arguments.count, arguments.chains)


if __name__ == "__main__":
    main()
