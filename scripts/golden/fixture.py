"""Writes fixtures: a JSON that says what was computed, and a safetensors file with what came out."""

import json
from pathlib import Path

import numpy as np
import torch
from safetensors.numpy import save_file

# A list or object of this many characters or fewer stays on one line, so that diffs stay readable and files small.
INLINE_LIMIT = 400


def rendered(value, indent: int = 0) -> str:
    """JSON with short values, and every list of plain numbers or words, on one line."""
    flat = json.dumps(value, allow_nan=False)
    plain = isinstance(value, list) and not any(isinstance(item, (list, dict)) for item in value)
    if plain or len(flat) <= INLINE_LIMIT or not isinstance(value, (list, dict)):
        return flat
    pad = " " * (indent + 1)
    if isinstance(value, list):
        lines = [pad + rendered(item, indent + 1) for item in value]
        return "[\n" + ",\n".join(lines) + "\n" + " " * indent + "]"
    lines = [f"{pad}{json.dumps(key)}: {rendered(item, indent + 1)}" for key, item in value.items()]
    return "{\n" + ",\n".join(lines) + "\n" + " " * indent + "}"


def write_json(path: Path, value) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(rendered(value) + "\n", encoding="utf-8")


def as_array(value) -> np.ndarray:
    if isinstance(value, torch.Tensor):
        value = value.detach().cpu().numpy()
    value = np.ascontiguousarray(value)
    return value if value.dtype == np.uint8 else value.astype(np.float32)


def write_arrays(path: Path, arrays: dict) -> None:
    """Everything is f32, but pictures, which are u8. NaN or infinity means a broken case, never a fixture."""
    arrays = {name: as_array(value) for name, value in arrays.items()}
    for name, value in arrays.items():
        if not np.isfinite(value).all():
            raise ValueError(f"{path.name}: {name} is not finite")
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file(arrays, path)
    path.chmod(0o644)  # the library makes files that only their owner can read


def write_case(directory: Path, name: str, description: dict, arrays: dict) -> None:
    write_json(directory / f"{name}.json", description)
    write_arrays(directory / f"{name}.safetensors", arrays)


def write_manifest(path: Path, tensors: list[tuple[str, tuple[int, ...]]]) -> None:
    """One line a tensor: name, tab, dimensions joined by `x`."""
    lines = [f"{name}\t{'x'.join(map(str, shape))}" for name, shape in tensors]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
