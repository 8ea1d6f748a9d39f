"""Draws captioned pictures: one coloured shape on a coloured background.

The pictures are the whole world of the demo model, so everything here is chosen to
be told apart by a program as well as by eye: the colours stay far from one another,
the shapes overlap little, and sizes and places come in a few distinct classes.
"""

import math
import random
from dataclasses import dataclass

import numpy
from PIL import Image, ImageDraw

SIDE = 128
"""Width and height of every picture, in pixels."""

PALETTE = {
    "red": (215, 30, 40),
    "green": (30, 150, 60),
    "blue": (35, 65, 215),
    "yellow": (250, 225, 45),
    "orange": (245, 130, 20),
    "purple": (125, 40, 165),
    "cyan": (60, 205, 225),
    "pink": (250, 145, 195),
    "white": (245, 245, 245),
    "black": (22, 22, 24),
}

SIZES = {"small": 46.0, "large": 84.0}
"""Width of the box around a shape, in pixels, before jitter."""

POSITIONS = {
    "center": (0, 0),
    "top left": (-1, -1),
    "top right": (1, -1),
    "bottom left": (-1, 1),
    "bottom right": (1, 1),
}
"""Direction in which the shape leaves the middle of the picture."""

REACH = {"small": 30.0, "large": 20.0}
"""How far, in pixels along each axis, a shape leaves the middle."""


def star_outline(points, outer, inner):
    """Vertices of a star that has its first point at the top."""
    corners = []
    for index in range(2 * points):
        radius = outer if index % 2 == 0 else inner
        angle = math.pi * index / points
        corners.append((radius * math.sin(angle), -radius * math.cos(angle)))
    return corners


POLYGONS = {
    "square": [(-0.45, -0.45), (0.45, -0.45), (0.45, 0.45), (-0.45, 0.45)],
    "triangle": [(0.0, -0.46), (0.5, 0.42), (-0.5, 0.42)],
    "star": star_outline(5, 0.54, 0.23),
    "cross": [
        (-0.17, -0.5), (0.17, -0.5), (0.17, -0.17), (0.5, -0.17), (0.5, 0.17), (0.17, 0.17),
        (0.17, 0.5), (-0.17, 0.5), (-0.17, 0.17), (-0.5, 0.17), (-0.5, -0.17), (-0.17, -0.17),
    ],
}
"""Outlines in units of the size, x to the right, y downwards, around the shape's place."""

DISCS = {"circle": (0.5, 0.0), "ring": (0.5, 0.27)}
"""Outer and inner radius in units of the size."""

SHAPES = ["circle", "square", "triangle", "star", "cross", "ring"]


@dataclass(frozen=True)
class Subject:
    """What a picture shows, in the words of the classes above."""

    shape: str
    foreground: str
    background: str
    size: str
    position: str


def random_subject(source):
    """Every combination is equally likely; the two colours always differ."""
    foreground, background = source.sample(list(PALETTE), 2)
    return Subject(
        shape=source.choice(SHAPES),
        foreground=foreground,
        background=background,
        size=source.choice(list(SIZES)),
        position=source.choice(list(POSITIONS)),
    )


def shape_mask(shape, size, middle, oversampling=4):
    """How much of each pixel the shape covers, 0 to 1, as a float32 array."""
    side = SIDE * oversampling
    canvas = Image.new("L", (side, side), 0)
    pen = ImageDraw.Draw(canvas)

    def place(x, y):
        return ((middle[0] + x * size) * oversampling - 0.5, (middle[1] + y * size) * oversampling - 0.5)

    if shape in POLYGONS:
        pen.polygon([place(x, y) for x, y in POLYGONS[shape]], fill=255)
    else:
        outer, inner = DISCS[shape]
        pen.ellipse([place(-outer, -outer), place(outer, outer)], fill=255)
        if inner > 0:
            pen.ellipse([place(-inner, -inner), place(inner, inner)], fill=0)
    return numpy.asarray(canvas.reduce(oversampling), dtype=numpy.float32) / 255.0


def jittered_colour(name, source, spread=7.0):
    """The palette's colour, moved a little so that colours are regions and not points."""
    return numpy.array([channel + source.uniform(-spread, spread) for channel in PALETTE[name]], dtype=numpy.float32)


def draw(subject, source):
    """The picture as a uint8 array of height, width, channels."""
    size = SIZES[subject.size] + source.uniform(-3.0, 3.0)
    reach = REACH[subject.size]
    direction = POSITIONS[subject.position]
    middle = [SIDE / 2 + axis * reach + source.uniform(-2.0, 2.0) for axis in direction]
    mask = shape_mask(subject.shape, size, middle)[:, :, None]
    foreground = jittered_colour(subject.foreground, source)
    background = jittered_colour(subject.background, source)
    return to_bytes(background * (1.0 - mask) + foreground * mask)


def draw_clutter(source):
    """Several shapes of arbitrary colours on a gradient.

    Only the autoencoder sees these: they keep it useful for pictures that the
    captioned world does not contain, such as a user's start image.
    """
    corners = numpy.array([[source.uniform(0, 255) for _ in range(3)] for _ in range(3)], dtype=numpy.float32)
    ramp = numpy.linspace(0.0, 1.0, SIDE, dtype=numpy.float32)
    across, down = ramp[None, :, None], ramp[:, None, None]
    pixels = corners[0] * (1.0 - 0.5 * across - 0.5 * down) + corners[1] * 0.5 * across + corners[2] * 0.5 * down
    for _ in range(source.randint(1, 4)):
        middle = (source.uniform(0, SIDE), source.uniform(0, SIDE))
        mask = shape_mask(source.choice(SHAPES), source.uniform(24, 100), middle)[:, :, None]
        colour = numpy.array([source.uniform(0, 255) for _ in range(3)], dtype=numpy.float32)
        pixels = pixels * (1.0 - mask) + colour * mask
    return to_bytes(pixels)


def to_bytes(pixels):
    """Float pixels, 0 to 255, as the bytes of a picture."""
    return numpy.clip(numpy.rint(pixels), 0, 255).astype(numpy.uint8)


OPENINGS = ["a picture of ", "an image of ", "a drawing of ", "a painting of ", "a photo of ", "an illustration of "]
SIZE_WORDS = {"small": ["small", "small", "small", "little", "tiny"], "large": ["large", "large", "large", "big", "huge"]}
MIDDLE_PHRASES = [
    "center", "centre", "centered", "centred", "in the center", "in the centre", "at the center", "at the centre",
    "in the middle",
]
BACKGROUND_PHRASES = [
    "on a {} background", "on a {} background", "on a {} background", "on {}", "on {}", "over a {} background",
    "against a {} background", "with a {} background", "in front of a {} background",
]


def caption(subject, source):
    """One of many ways to say what the picture shows; size and place are often left unsaid."""
    size = source.choice(SIZE_WORDS[subject.size]) if source.random() < 0.6 else ""
    place = _place_phrase(subject.position, source) if source.random() < 0.6 else ""
    omission = source.random()
    foreground = "" if omission < 0.03 else subject.foreground
    background = "" if omission > 0.94 else subject.background

    adjectives = [word for word in (size, foreground) if word]
    if source.random() < 0.15:
        adjectives.reverse()
    noun = " ".join(adjectives + [subject.shape])

    order = source.random()
    if order < 0.12:
        text = _listed(noun, background, place, source)
    elif order < 0.22 and background:
        text = _background_first(noun, background, place, source)
    elif order < 0.37:
        text = source.choice(OPENINGS) + _sentence(_with_article(noun), background, place, source)
    else:
        text = _sentence(_with_article(noun) if source.random() < 0.7 else noun, background, place, source)
    if source.random() < 0.08:
        text += "."
    return text


def _sentence(noun, background, place, source):
    behind = _article_mended(source.choice(BACKGROUND_PHRASES).format(background)) if background else ""
    if place and source.random() < 0.3:
        return " ".join(part for part in (noun, place, behind) if part)
    text = f"{noun} {behind}".rstrip()
    if place:
        text += source.choice([", ", ", ", " "]) + place
    return text


def _background_first(noun, background, place, source):
    text = _article_mended(source.choice(["on a {} background, ", "a {} background with "]).format(background))
    text += _with_article(noun)
    if place:
        text += source.choice([", ", " "]) + place
    return text


def _listed(noun, background, place, source):
    parts = [noun]
    if background:
        parts.append(f"{background} background")
    if place:
        parts.append(place)
    source.shuffle(parts)
    return ", ".join(parts)


def _place_phrase(position, source):
    if position == "center":
        return source.choice(MIDDLE_PHRASES)
    height, side = position.split()
    if source.random() < 0.15:
        height = {"top": "upper", "bottom": "lower"}[height]
    form = source.choice([
        "{} {}", "{} {}", "in the {} {}", "at the {} {}", "in the {} {} corner", "{} {} corner", "{}-{}",
    ])
    return form.format(height, side)


def _with_article(noun):
    return ("an " if noun[0] in "aeiou" else "a ") + noun


def _article_mended(text):
    return text.replace("a orange", "an orange")


def fresh_source(seed):
    """A generator of our own, so that nothing else in the process disturbs the pictures."""
    return random.Random(seed)
