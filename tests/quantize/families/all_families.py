"""Every family that is tested: the `FAMILIES` of this folder's files, joined."""

from __future__ import annotations

import importlib
import pkgutil
from pathlib import Path

from tests.quantize.families.family import Family

_NAMES = sorted(module.name for module in pkgutil.iter_modules([str(Path(__file__).parent)]))
_LISTS: tuple[tuple[Family, ...], ...] = tuple(
    getattr(importlib.import_module(f"{__package__}.{name}"), "FAMILIES", ())
    for name in _NAMES
    if not name.startswith("test_") and name not in ("all_families", "table")
)
ALL_FAMILIES: tuple[Family, ...] = tuple(family for families in _LISTS for family in families)
