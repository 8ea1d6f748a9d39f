"""Moves the shapes of `pictures.py`: clips whose motion follows from their first frame alone.

Every place in the picture has a velocity, so that a clip can go on from any frame of
another: shapes travel clockwise around the middle of the picture and settle at a
distance from it; a shape in the middle rises first. The motion bucket scales the
velocity and nothing else, so that it changes how fast a path is travelled, not the path.
"""

import math
from dataclasses import dataclass

import numpy

from .pictures import (
    PALETTE, POSITIONS, REACH, SHAPES, SIDE, SIZES, jittered_colour, shape_mask, to_bytes,
)

DEGREES_PER_BUCKET = 0.03
"""How far a shape that has settled goes around in one frame, per unit of the motion bucket."""

SETTLED_SHARE = 0.27
"""Distance from the middle at which small shapes settle, as a share of the side; large ones stay inside the picture."""

EDGE_PIXELS = 2.0
"""What remains between the edge and a shape that has settled."""

RISE_REACH = 9.0
"""Distance from the middle, in pixels, over which the upward start fades."""

LARGEST_STEP = 0.05
"""Radians that one step of the integration may cover."""

PAIR_SHARE = 0.06
"""Clips with two small shapes: the picture model draws those at times."""


@dataclass(frozen=True)
class Mover:
    """A shape that moves: its size in pixels, its colour, and the start relative to the middle, in pixels."""

    shape: str
    size: float
    colour: tuple
    start: tuple


@dataclass(frozen=True)
class Scene:
    """What a clip shows: the background's colour and the shapes on it."""

    background: tuple
    movers: tuple


def settled_radius(size):
    """Where a shape of this size, in pixels, settles: pixels from the middle."""
    return max(min(SETTLED_SHARE * SIDE, SIDE / 2 - size / 2 - EDGE_PIXELS), 0.1 * SIDE)


def velocity(place, radius):
    """Pixels per radian of the way around, at a place relative to the middle; x to the right, y downwards."""
    x, y = place
    distance = math.hypot(x, y)
    outward = (radius - distance) / math.sqrt(distance * distance + RISE_REACH * RISE_REACH / 4)
    rise = radius * math.exp(-0.5 * (distance / RISE_REACH) ** 2)
    return outward * x - y, outward * y + x - rise


def moved(place, radius, angle):
    """Where a shape is after `angle` radians of the way; midpoint steps."""
    count = max(1, math.ceil(angle / LARGEST_STEP))
    step = angle / count
    x, y = place
    for _ in range(count):
        across, down = velocity((x, y), radius)
        across, down = velocity((x + across * step / 2, y + down * step / 2), radius)
        x, y = x + across * step, y + down * step
    return x, y


def path(mover, bucket, frames):
    """The shape's place in each frame, relative to the middle, in pixels."""
    radius, angle = settled_radius(mover.size), math.radians(DEGREES_PER_BUCKET) * bucket
    places = [mover.start]
    while len(places) < frames:
        places.append(moved(places[-1], radius, angle))
    return places


def draw_frame(scene, places):
    """The scene with its shapes at these places, as a uint8 array of height, width, channels."""
    pixels = numpy.broadcast_to(numpy.array(scene.background, dtype=numpy.float32), (SIDE, SIDE, 3))
    for mover, (x, y) in zip(scene.movers, places):
        mask = shape_mask(mover.shape, mover.size, (SIDE / 2 + x, SIDE / 2 + y))[:, :, None]
        pixels = pixels * (1.0 - mask) + numpy.array(mover.colour, dtype=numpy.float32) * mask
    return to_bytes(pixels)


def draw_clip(scene, bucket, frames):
    """All frames of a clip."""
    paths = [path(mover, bucket, frames) for mover in scene.movers]
    return [draw_frame(scene, places) for places in zip(*paths)]


def random_scene(source):
    """One shape where the picture model puts it or anywhere on the way of a clip; sometimes two shapes."""
    foreground, background = source.sample(list(PALETTE), 2)
    shape = source.choice(SHAPES)
    colour = tuple(float(value) for value in jittered_colour(foreground, source))
    if source.random() < PAIR_SHARE:
        first, second = source.sample([name for name in POSITIONS if name != "center"], 2)
        size = SIZES["small"] + source.uniform(-3.0, 3.0)
        starts = [(size, drawn_place("small", name, source)) for name in (first, second)]
    else:
        name = source.choice(list(SIZES))
        size = SIZES[name] + source.uniform(-3.0, 3.0)
        if source.random() < 0.5:
            starts = [(size, drawn_place(name, source.choice(list(POSITIONS)), source))]
        else:
            starts = [(size, place_on_the_way(size, source))]
    return Scene(
        background=tuple(float(value) for value in jittered_colour(background, source)),
        movers=tuple(Mover(shape, size, colour, start) for size, start in starts),
    )


def drawn_place(size_name, position, source):
    """A place as `pictures.draw` chooses it."""
    return tuple(axis * REACH[size_name] + source.uniform(-2.0, 2.0) for axis in POSITIONS[position])


def place_on_the_way(size, source):
    """Any direction from the middle, at a distance around the settled one."""
    angle, distance = source.uniform(0, 2 * math.pi), settled_radius(size) * source.uniform(0.2, 1.3)
    return distance * math.cos(angle), distance * math.sin(angle)
