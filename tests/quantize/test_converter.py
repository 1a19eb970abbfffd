"""F16, BF16 and F32 files equal those of llama.cpp's converter: metadata, types, shapes, bytes.

`data/converter/*.json` is what the converter made of the same checkpoints; `test_oracle.py` runs it anew.
Where we differ on purpose, in no variant here:

- tokenizer.json with byte_fallback and no tokenizer.model: the converter gives every token the score -1000,
  we the place of its merge, so that llama.cpp splits as the model does (`vocabulary/test_byte_fallback.py`);
  and we pad the vocabulary to the embedding, without which llama.cpp doesn't load the file.
- `tokenizer.ggml.pre`: of several names for one behaviour we may use another one (`test_oracle.py`).
- Added tokens keep their text; the converter sends those that aren't normalized through the tokenizer.
- What files say about ends of answers, chat templates, added tokens and special tokens' names is read as
  transformers reads it (docs/architectures.md says how that differs; `vocabulary/test_saved_forms.py`).
- A frequency factor of Llama 3 may differ in its last bit where torch's power isn't correctly rounded.
- From the service only: general.quantized_by, general.source.huggingface.repository and .commit.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.quantize.quantize_folder import run_plan
from tests.quantize.summary import summary
from tests.quantize.variants import VARIANTS

GOLDEN = Path(__file__).parent / "data" / "converter"
TYPES = ("F16", "BF16", "F32")


@pytest.mark.parametrize("name", VARIANTS)
def test_files_equal_the_converters(name: str, tmp_path: Path) -> None:
    directory = VARIANTS[name].write(tmp_path)
    for file in run_plan(directory, TYPES, tmp_path):
        golden: dict[str, Any] = json.loads((GOLDEN / f"{name}.json").read_text(encoding="utf-8"))[file.type]
        ours = summary(file.path)
        assert ours["metadata"] == golden["metadata"]
        assert ours["tensors"] == golden["tensors"]


def test_every_variant_has_its_golden_file() -> None:
    assert {path.stem for path in GOLDEN.glob("*.json")} == set(VARIANTS)
