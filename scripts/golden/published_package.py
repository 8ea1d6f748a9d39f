"""Parts of packages whose own `__init__` wants libraries that the parts do not need (torchvision, VapourSynth)."""

import importlib
import importlib.util
import sys
import types


def part(package: str, module: str):
    """`package.module`, imported without running `package/__init__.py`."""
    if package not in sys.modules:
        shell = types.ModuleType(package)
        shell.__path__ = importlib.util.find_spec(package).submodule_search_locations
        sys.modules[package] = shell
    return importlib.import_module(f"{package}.{module}")
