"""GGUF files of families in F32, with the weights that the golden files of `quantize` are made of."""

from __future__ import annotations

from pathlib import Path

from quantize.run.pipeline import quantize
from tests.quantize.families.all_families import ALL_FAMILIES
from tests.quantize.families.checkpoint import read_golden, write_checkpoint


def write_family_gguf(name: str, folder: Path) -> Path:
    """Write `<name>.gguf` into `folder`; returns its path."""
    family = next(family for family in ALL_FAMILIES if family.name == name)
    golden = read_golden(family)
    checkpoint = write_checkpoint(family, folder, golden["config"], golden["tensors"])
    quantize(checkpoint, ["F32"], folder, file_name=lambda _type: f"{name}.gguf")
    return folder / f"{name}.gguf"
