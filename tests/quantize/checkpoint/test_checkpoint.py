"""Opening a checkpoint folder."""

from __future__ import annotations

from pathlib import Path

import pytest

from models.errors import CheckpointError, InvalidGGUF
from quantize.checkpoint.checkpoint import Checkpoint
from quantize.checkpoint.json_file import read_bounded
from tests.pico import write_pico_checkpoint


def test_a_checkpoint_has_config_and_tensors(tmp_path: Path) -> None:
    with Checkpoint.open(write_pico_checkpoint(tmp_path / "pico", n_layers=1)) as checkpoint:
        assert checkpoint.config["hidden_size"] == 256
        assert "model.norm.weight" in checkpoint.tensors.entries


def test_a_missing_folder(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="is no folder"):
        Checkpoint.open(tmp_path / "nothing")


def test_a_folder_without_config(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"no config\.json"):
        Checkpoint.open(tmp_path)


def test_folders_of_another_kind(tmp_path: Path) -> None:
    (tmp_path / "x.gguf").touch()
    with pytest.raises(CheckpointError, match=r"give the GGUF file itself, x\.gguf"):
        Checkpoint.open(tmp_path)
    (tmp_path / "params.json").write_text("{}")
    with pytest.raises(CheckpointError, match="Meta's own files"):
        Checkpoint.open(tmp_path)


def test_a_file_that_is_no_gguf(tmp_path: Path) -> None:
    (tmp_path / "x.bin").touch()
    with pytest.raises(CheckpointError, match="is no folder"):
        Checkpoint.open(tmp_path / "x.bin")
    (tmp_path / "x.gguf").touch()
    with pytest.raises(InvalidGGUF):
        Checkpoint.open(tmp_path / "x.gguf")


@pytest.mark.parametrize(
    ("text", "reason"), [("{", "valid JSON"), ("[1]", "not an object"), ("", "valid JSON")]
)
def test_a_config_that_is_no_object(tmp_path: Path, text: str, reason: str) -> None:
    (tmp_path / "config.json").write_text(text)
    with pytest.raises(CheckpointError, match=reason):
        Checkpoint.open(tmp_path)


def test_files_are_read_up_to_a_limit(tmp_path: Path) -> None:
    (tmp_path / "big.json").write_bytes(bytes(11))
    assert read_bounded(tmp_path / "big.json", 11) == bytes(11)
    with pytest.raises(CheckpointError, match="larger than 10 bytes"):
        read_bounded(tmp_path / "big.json", 10)
