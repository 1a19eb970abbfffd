"""llama.cpp's converter run anew: it still says what `data/converter` holds.

Needs torch and transformers (`make oracle`) and CORRAL_LLAMA_CPP_SOURCE, llama.cpp's source tree as in the
sdist of llama-cpp-python. CORRAL_WRITE_GOLDEN=1 first writes the golden files anew.
"""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from tests.quantize.converter import SOURCES, convert
from tests.quantize.quantize_folder import run_plan
from tests.quantize.real_tokenizers import REAL_TOKENIZERS
from tests.quantize.summary import summary
from tests.quantize.test_converter import GOLDEN, TYPES
from tests.quantize.variants import VARIANTS

pytestmark = [pytest.mark.oracle, pytest.mark.timeout(900)]

if SOURCES is None:
    pytestmark.append(pytest.mark.skip(reason="CORRAL_LLAMA_CPP_SOURCE names no llama.cpp source tree"))


@pytest.mark.parametrize("name", VARIANTS)
def test_the_converter_still_says_so(name: str, tmp_path: Path) -> None:
    variant = VARIANTS[name]
    converted = convert(variant.write(tmp_path), tmp_path, variant.pre, TYPES)
    path = GOLDEN / f"{name}.json"
    if os.environ.get("CORRAL_WRITE_GOLDEN"):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(converted, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")
    assert converted == json.loads(path.read_text(encoding="utf-8"))


@pytest.mark.parametrize("name", REAL_TOKENIZERS)
def test_real_tokenizers_are_told_as_the_converter_tells_them(name: str, tmp_path: Path) -> None:
    """The converter knows them by a hash of token ids, we by their structure."""
    assert SOURCES is not None
    real = REAL_TOKENIZERS[name]
    directory = real.write(Path(SOURCES) / "models" / f"ggml-vocab-{name}.gguf", tmp_path / "real")
    theirs = convert(directory, tmp_path, None, ["F16"])["F16"]
    (file,) = run_plan(directory, ["F16"], tmp_path)
    ours = summary(file.path)
    assert theirs["metadata"].pop("tokenizer.ggml.pre")[1] == name
    assert ours["metadata"].pop("tokenizer.ggml.pre")[1] == real.ours
    assert ours == theirs
