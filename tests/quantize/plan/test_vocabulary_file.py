"""A planned model's vocabulary counts a text as the model's own file does."""

from __future__ import annotations

from pathlib import Path

import pytest

from models.llamacpp.model import Model
from quantize.checkpoint.checkpoint import Checkpoint
from quantize.plan.make_plan import make_plan
from quantize.plan.vocabulary_file import vocabulary_file
from tests.pico import write_pico_checkpoint
from tests.quantize.calibration.pico_moments import TEXT
from tests.quantize.quantize_folder import quantize_folder


@pytest.mark.model
def test_tokens_are_those_of_the_models_file(tmp_path: Path) -> None:
    directory = write_pico_checkpoint(tmp_path / "pico")
    with Checkpoint.open(directory) as checkpoint:
        plan = make_plan(checkpoint, ["Q4_0"])
    own = quantize_folder(directory, ["F16"], tmp_path)[0].path
    found = []
    with vocabulary_file(plan) as path:
        for file in (path, own):
            with Model.load(file, vocab_only=True) as model:
                assert not model.has_encoder
                found.append(model.vocab.tokenize(TEXT, add_special=True, parse_special=False))
    assert found[0] == found[1]
    assert not path.exists()
