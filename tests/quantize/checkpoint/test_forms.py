"""From any form to GGUF: the same bytes as from the plain weights it means, and llama.cpp runs them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from models.llamacpp.batch import TokenBatch
from models.llamacpp.context import Context
from models.llamacpp.model import Model
from tests.quantize.checkpoint.forms import FORMS, write_form
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
