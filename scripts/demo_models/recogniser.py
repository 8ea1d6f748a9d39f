"""Tells from pixels alone which colours and which shape a picture shows.

The README describes every step, so that another program can do exactly the same.
"""

import numpy

from .pictures import DISCS, PALETTE, POLYGONS, SHAPES, SIDE

TEMPLATE_SIZES = range(36, 100, 4)
TEMPLATE_SHIFTS = range(-4, 5, 2)
SMALL_BELOW = 64
CENTRE_WITHIN = 10

COLOURS = list(PALETTE)
_PALETTE = numpy.array(list(PALETTE.values()), dtype=numpy.int64)


def inside(shape, size, middle):
    """Which pixel centres lie within the shape, as a boolean array of height, width."""
    centres = numpy.arange(SIDE) + 0.5
    x = ((centres - middle[0]) / size)[None, :]
    y = ((centres - middle[1]) / size)[:, None]
    if shape in DISCS:
        outer, inner = DISCS[shape]
        square = x * x + y * y
        return (square <= outer * outer) & (square >= inner * inner)
    crossings = numpy.zeros((SIDE, SIDE), dtype=bool)
    corners = POLYGONS[shape]
    for (x1, y1), (x2, y2) in zip(corners, corners[1:] + corners[:1]):
        if y1 != y2:
            between = (y1 > y) != (y2 > y)
            crossings ^= between & (x < (x2 - x1) * (y - y1) / (y2 - y1) + x1)
    return crossings


def centroid(mask):
    """The rounded mean column and row of the set pixels."""
    rows, columns = numpy.nonzero(mask)
    return int(numpy.floor(columns.mean() + 0.5)), int(numpy.floor(rows.mean() + 0.5))


def moved(mask, right, down):
    """The mask shifted; what leaves the picture is lost, what enters is empty."""
    result = numpy.zeros_like(mask)
    height, width = mask.shape
    result[max(down, 0):height + min(down, 0), max(right, 0):width + min(right, 0)] = mask[
        max(-down, 0):height + min(-down, 0), max(-right, 0):width + min(-right, 0)
    ]
    return result


def centred(mask, shift=(0, 0)):
    """The mask with its centroid in the middle of the picture, then shifted."""
    column, row = centroid(mask)
    return moved(mask, SIDE // 2 - column + shift[0], SIDE // 2 - row + shift[1])


class Recogniser:
    """Holds the templates: every shape, at every size, at every small shift."""

    def __init__(self):
        self.labels, packed = [], []
        for shape in SHAPES:
            for size in TEMPLATE_SIZES:
                mask = centred(inside(shape, size, (SIDE / 2, SIDE / 2)))
                for down in TEMPLATE_SHIFTS:
                    for right in TEMPLATE_SHIFTS:
                        self.labels.append((shape, size))
                        packed.append(numpy.packbits(moved(mask, right, down)))
        self.packed = numpy.stack(packed)
        self.areas = numpy.bitwise_count(self.packed).sum(axis=1, dtype=numpy.int64)

    def look(self, picture):
        """A dictionary of what a uint8 picture shows."""
        pixels = picture.reshape(-1, 3).astype(numpy.int64)
        distances = ((pixels[:, None, :] - _PALETTE[None]) ** 2).sum(axis=2)
        counts = numpy.bincount(distances.argmin(axis=1), minlength=len(COLOURS))
        background, foreground = numpy.argsort(-counts, kind="stable")[:2]
        mask = (distances[:, foreground] < distances[:, background]).reshape(SIDE, SIDE)
        seen = {"background": COLOURS[background], "foreground": COLOURS[foreground]}
        seen["colours"] = {COLOURS[background], COLOURS[foreground]}
        seen["purity"] = (counts[background] + counts[foreground]) / counts.sum()
        if not mask.any():
            return {**seen, "shape": None, "size": None, "position": None, "overlap": 0.0}
        overlap, shape, size = self._best_template(centred(mask))
        seen.update(shape=shape, size="small" if size < SMALL_BELOW else "large", overlap=overlap)
        seen["position"] = self._place(mask)
        return seen

    def _best_template(self, mask):
        bits = numpy.packbits(mask)
        common = numpy.bitwise_count(self.packed & bits).sum(axis=1, dtype=numpy.int64)
        union = self.areas + mask.sum() - common
        overlaps = common / union
        best = int(overlaps.argmax())
        return float(overlaps[best]), *self.labels[best]

    @staticmethod
    def _place(mask):
        column, row = centroid(mask)
        right, down = column - SIDE // 2, row - SIDE // 2
        if abs(right) < CENTRE_WITHIN and abs(down) < CENTRE_WITHIN:
            return "center"
        return f"{'top' if down < 0 else 'bottom'} {'left' if right < 0 else 'right'}"
