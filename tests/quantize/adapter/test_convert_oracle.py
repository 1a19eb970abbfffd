"""llama.cpp's own converter says the same of a PEFT adapter: tensors byte for byte, and the keys it writes.

Needs torch and transformers (`make oracle`) and CORRAL_LLAMA_CPP_SOURCE, as `test_oracle.py`. rsLoRA and
alpha_pattern aren't compared: that converter doesn't know them (`test_adapter.py` holds their meaning).
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from models.gguf.reader import GGUFFile, read_gguf_file
from quantize.adapter.convert import convert_adapter
from tests.peft import write_peft_adapter
from tests.pico import write_pico_checkpoint
from tests.quantize.quantize_folder import quantize_folder

SOURCES = os.environ.get("CORRAL_LLAMA_CPP_SOURCE")

pytestmark = [
    pytest.mark.oracle,
    pytest.mark.timeout(300),
    pytest.mark.skipif(SOURCES is None, reason="CORRAL_LLAMA_CPP_SOURCE names no llama.cpp source tree"),
]


def tensors_of(file: GGUFFile) -> dict[str, tuple[tuple[int, ...], str, bytes]]:
    data = file.path.read_bytes()
    return {t.name: (t.shape, t.type, data[t.offset : t.offset + t.nbytes]) for t in file.tensors}


@pytest.mark.parametrize(
    "options",
    [
        {"others": ("lm_head", "model.embed_tokens")},
        {"rank": 1, "alpha": 2.5},
        {"dtype": "BF16", "ranks": {"model.layers.0.self_attn.k_proj": 8}},
        {"dtype": "F16", "modules": ("self_attn.q_proj",)},
    ],
)
def test_the_converter_says_the_same(options: dict[str, Any], tmp_path: Path) -> None:
    assert SOURCES is not None
    checkpoint = write_pico_checkpoint(tmp_path / "pico", dtype="F32")
    folder = write_peft_adapter(tmp_path / "adapter", checkpoint, **options)
    (base,) = quantize_folder(checkpoint, ["F32"], tmp_path, threads=1)
    ours = read_gguf_file(convert_adapter(folder, base.path, tmp_path / "ours.gguf").path)
    script, out = str(Path(SOURCES) / "convert_lora_to_gguf.py"), tmp_path / "theirs.gguf"
    command = [sys.executable, script, "--base", str(checkpoint), "--outfile", str(out), str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    theirs = read_gguf_file(out)
    assert tensors_of(ours) == tensors_of(theirs)
    name = theirs.metadata.pop("general.name")
    assert str(name).lower() == ours.metadata["general.name"]
    assert {key: ours.metadata.get(key) for key in theirs.metadata} == theirs.metadata
    assert {key: ours.types[key] for key in theirs.metadata} == {
        key: theirs.types[key] for key in theirs.metadata
    }
