"""F16, BF16 and F32 files equal those of llama.cpp's converter: metadata, types, shapes, bytes.

`data/converter/*.json` is what the converter made of the same checkpoints; `test_oracle.py` runs it anew.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from quantize.pipeline import quantize
from tests.quantize.summary import summary
from tests.quantize.variants import VARIANTS

GOLDEN = Path(__file__).parent / "data" / "converter"
TYPES = ("F16", "BF16", "F32")


@pytest.mark.parametrize("name", VARIANTS)
def test_files_equal_the_converters(name: str, tmp_path: Path) -> None:
    directory = VARIANTS[name].write(tmp_path)
    result = quantize(directory, TYPES, tmp_path, threads=2)
    for file in result.files:
        golden: dict[str, Any] = json.loads((GOLDEN / f"{name}.json").read_text(encoding="utf-8"))[file.type]
        ours = summary(file.path)
        assert ours["metadata"] == golden["metadata"]
        assert ours["tensors"] == golden["tensors"]


def test_every_variant_has_its_golden_file() -> None:
    assert {path.stem for path in GOLDEN.glob("*.json")} == set(VARIANTS)
