"""What torch's CPU generator draws: the root of "same seed, same picture"."""

from pathlib import Path

import torch

from fixture import write_case

# Below 16 numbers torch takes another path (f64 Box-Muller, one value cached); sizes that are no multiple of 16 redraw
# their last 16 numbers. The generator's state carries over from one draw to the next in all of them.
SEQUENCES = {
    "one_block": (1234, [(16,)]),
    "tail": (1234, [(17,)]),
    "long_tail": (0, [(1000,)]),
    "latent": (42, [(1, 4, 6, 9)]),
    "seed_above_32_bits": (0x1_0000_002A, [(1, 4, 4, 4)]),
    "largest_seed": (2**64 - 1, [(32,)]),
    "several_draws": (7, [(16,), (100,), (17,), (1, 4, 4, 4), (31,), (16,)]),
    "past_the_state": (99, [(640,), (640,)]),
    "scalar_path": (5, [(1,), (4,), (15,), (16,), (3,), (16,)]),
}


def generate(root: Path) -> None:
    cases, arrays = [], {}
    for name, (seed, shapes) in SEQUENCES.items():
        generator = torch.Generator("cpu").manual_seed(seed)
        for index, shape in enumerate(shapes):
            arrays[f"{name}.{index}"] = torch.randn(shape, generator=generator, dtype=torch.float32)
        cases.append({"name": name, "seed": str(seed), "shapes": [list(shape) for shape in shapes]})
    write_case(root / "noise", "noise", {"torch": torch.__version__.split("+")[0], "cases": cases}, arrays)
