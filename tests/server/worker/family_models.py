"""GGUF files of families in F32, with the weights that the golden files of `quantize` are made of."""

from __future__ import annotations

from pathlib import Path

from tests.quantize.families.all_families import ALL_FAMILIES
from tests.quantize.families.checkpoint import read_golden, write_checkpoint
from tests.quantize.quantize_folder import quantize_folder


def write_family_gguf(name: str, folder: Path) -> Path:
    """Write `<name>.gguf` into `folder`; returns its path."""
    family = next(family for family in ALL_FAMILIES if family.name == name)
    golden = read_golden(family)
    checkpoint = write_checkpoint(family, folder, golden["config"], golden["tensors"])
    (file,) = quantize_folder(checkpoint, ["F32"], folder)
    return file.path.rename(folder / f"{name}.gguf")
