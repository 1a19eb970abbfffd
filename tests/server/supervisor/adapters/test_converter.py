from __future__ import annotations

from pathlib import Path

import pytest

from models.errors import CheckpointError
from server.supervisor.adapters.converter import AdapterConverter
from tests.peft import write_peft_adapter
from tests.pico import write_pico_checkpoint
from tests.quantize.quantize_folder import quantize_folder


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_pico_checkpoint(tmp_path_factory.mktemp("base") / "pico", dtype="F32")


@pytest.fixture(scope="module")
def base(checkpoint: Path) -> Path:
    (file,) = quantize_folder(checkpoint, ["F32"], checkpoint.parent, threads=1)
    return file.path


def test_an_adapter_is_converted_once_and_again_when_it_changes(
    checkpoint: Path, base: Path, tmp_path: Path
) -> None:
    folder = write_peft_adapter(tmp_path / "style", checkpoint)
    convert = AdapterConverter(tmp_path / "made")
    first = convert(folder, base)
    content, written_ns = first.read_bytes(), first.stat().st_mtime_ns
    assert (convert(folder, base), first.stat().st_mtime_ns) == (first, written_ns)
    write_peft_adapter(folder, checkpoint, seed=2)
    second = convert(folder, base)
    assert second != first
    assert second.read_bytes() != content


def test_a_gguf_file_is_used_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "style.gguf"
    path.write_bytes(b"GGUF")
    assert AdapterConverter(tmp_path / "made")(path, tmp_path / "base.gguf") == path
    assert not (tmp_path / "made").exists()


def test_a_folder_that_is_no_adapter(base: Path, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"has no adapter_config\.json"):
        AdapterConverter(tmp_path / "made")(tmp_path, base)
    assert list((tmp_path / "made").iterdir()) == []
