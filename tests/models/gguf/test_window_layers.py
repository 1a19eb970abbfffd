from __future__ import annotations

from pathlib import Path

import pytest

from models.gguf.hyperparameters import Hyperparameters, Metadata
from models.gguf.info import read_gguf_info
from models.gguf.window_layers import window_layers
from tests.memory_models import write_hybrid_gguf, write_windowed_gguf


@pytest.mark.parametrize(
    ("architecture", "numbers", "expected"),
    [
        ("gemma3", {"attention.sliding_window": 512}, "wwwww.ww"),
        ("gemma3", {"attention.sliding_window": 0}, ""),
        ("gpt-oss", {"attention.sliding_window": 128}, "w.w.w.w."),
        ("gpt-oss", {"attention.sliding_window": 128, "nextn_predict_layers": 2}, "w.w.w..."),
        ("smallthinker", {"attention.sliding_window": 64}, ".www.www"),
        ("gpt-oss", {"attention.sliding_window": 8, "attention.sliding_window_pattern": 4}, "www.www."),
        ("gpt-oss", {"attention.sliding_window": 8, "attention.sliding_window_pattern": 0}, "wwwwwwww"),
        ("llama", {"attention.sliding_window": 512}, ""),
        ("exaone4", {"attention.sliding_window": 512}, ""),
    ],
)
def test_the_layers_of_an_architecture(architecture: str, numbers: dict[str, int], expected: str) -> None:
    metadata: Metadata = {f"{architecture}.{key}": number for key, number in numbers.items()}
    metadata[f"{architecture}.block_count"] = 8
    layers = window_layers(Hyperparameters(metadata, architecture))
    assert "".join("w" if one else "." for one in layers) == expected


def test_the_layers_of_a_file(tmp_path: Path) -> None:
    windowed = read_gguf_info(write_windowed_gguf(tmp_path / "window.gguf"))
    assert windowed.window_layers == [True, True, True, False]
    assert not read_gguf_info(write_hybrid_gguf(tmp_path / "hybrid.gguf")).window_layers
