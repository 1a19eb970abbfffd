"""From any form to GGUF: the same bytes as from the plain weights it means, and llama.cpp runs them."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

import numpy as np
import pytest

from models.errors import CheckpointError, QuantizationError
from models.llamacpp.batch import TokenBatch
from models.llamacpp.context import Context
from models.llamacpp.model import Model
from quantize.checkpoint.safetensors import SafetensorsSource
from tests.quantize.checkpoint.forms import FORMS, write_form
from tests.quantize.checkpoint.write_tensors import write_any_safetensors
from tests.quantize.quantize_folder import quantize_folder
from tests.quantize.summary import summary

pytestmark = pytest.mark.model

TYPES = ["F32", "Q8_0"]


@pytest.mark.parametrize("name", FORMS)
def test_a_form_becomes_the_file_of_what_it_means(name: str, tmp_path: Path) -> None:
    form, plain = write_form(FORMS[name], tmp_path)
    files, expected = (quantize_folder(folder, TYPES, tmp_path) for folder in (form, plain))
    for file, other in zip(files, expected, strict=True):
        assert summary(file.path)["tensors"] == summary(other.path)["tensors"]
    with Model.load(files[1].path) as model, Context(model, n_ctx=64, n_batch=64, n_threads=1) as context:
        batch = TokenBatch(8)
        batch.add_many([5, 300, 17, 42], 0, 0, output_last=True)
        context.decode(batch)
        logits = context.logits()
        assert np.isfinite(logits).all()
        assert logits.std() > 0


@pytest.mark.parametrize(
    ("name", "scale", "value"),
    [("bitnet", "weight_scale", 0), ("compressed nvfp4", "weight_global_scale", 0),
     ("fp8 blocks", "weight_scale_inv", np.inf), ("gptq 4", "scales", np.nan)],
)  # fmt: skip
def test_scales_of_which_no_numbers_come_are_one_error(
    name: str, scale: str, value: float, tmp_path: Path
) -> None:
    """Neither numpy's warnings nor a file; warnings are errors here."""
    form, _ = write_form(FORMS[name], tmp_path)
    file, changed = form / "model.safetensors", f"model.layers.0.mlp.down_proj.{scale}"
    with closing(SafetensorsSource([file])) as source:
        tensors = {key: source.rows(key, 0, entry.shape[0]).copy() for key, entry in source.entries.items()}
    tensors[changed] = np.full_like(tensors[changed], value)
    write_any_safetensors(file, tensors)
    with pytest.raises(QuantizationError, match=r"blk\.0\.ffn_down\.weight .*down_proj.* values are"):
        quantize_folder(form, ["F32"], tmp_path)
    assert [*tmp_path.glob("*.gguf")] == []


@pytest.mark.parametrize(
    ("name", "setting"), [("hqq 4", "axis"), ("hqq 4", "shape"), ("bitsandbytes int8", "weight_format")]
)
def test_settings_without_a_number_are_an_error(name: str, setting: str, tmp_path: Path) -> None:
    form, _ = write_form(FORMS[name], tmp_path)
    file, changed = form / "model.safetensors", f"model.layers.0.mlp.down_proj.{setting}"
    with closing(SafetensorsSource([file])) as source:
        shapes = {key: entry.shape for key, entry in source.entries.items()}
        tensors = {key: source.rows(key, 0, shape[0] if shape else 1) for key, shape in shapes.items()}
    tensors = {key: rows.reshape(shapes[key]) for key, rows in tensors.items()}
    tensors[changed] = tensors[changed].reshape(-1)[:0]
    write_any_safetensors(file, tensors)
    with pytest.raises(CheckpointError, match=f"{setting} is .* \\[0\\], and .* calls for"):
        quantize_folder(form, ["F32"], tmp_path)
