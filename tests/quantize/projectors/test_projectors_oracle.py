"""The golden files of `test_projectors.py`: made by llama.cpp's converter, or compared with what it makes.

CORRAL_WRITE_GOLDEN=1 make oracle ARGS="tests/quantize/projectors -k gemma3"
"""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from models.gguf.projector import PROJECTOR_NUMBERS
from tests.quantize.converter import SOURCES, convert
from tests.quantize.families.checkpoint import golden_lines, pack
from tests.quantize.projectors.checkpoints import GOLDEN, SIGHTS, Sight, golden

pytestmark = [pytest.mark.oracle, pytest.mark.timeout(900), pytest.mark.filterwarnings("ignore")]
if SOURCES is None:
    pytestmark.append(pytest.mark.skip(reason="CORRAL_LLAMA_CPP_SOURCE names no llama.cpp source tree"))


@pytest.mark.parametrize("sight", SIGHTS, ids=str)
def test_the_converter_still_says_so(sight: Sight, tmp_path: Path) -> None:
    folder = sight.write(tmp_path)
    found = pack(convert(folder, tmp_path, None, PROJECTOR_NUMBERS, projector=True))
    if os.environ.get("CORRAL_WRITE_GOLDEN"):
        GOLDEN.mkdir(parents=True, exist_ok=True)
        (GOLDEN / f"{sight.name}.json").write_text(golden_lines(found), encoding="utf-8")
    assert json.loads(json.dumps(found)) == golden(sight)
