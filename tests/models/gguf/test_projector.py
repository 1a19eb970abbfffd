"""A projector's file is known by what it holds, and can't be served."""

from __future__ import annotations

from pathlib import Path

import pytest

from models.errors import InvalidGGUF
from models.gguf.info import read_gguf_info, require_model
from models.gguf.projector import is_projector_name
from server.supervisor.catalogue import file_entry


def write(path: Path, architecture: str, kind: str | None) -> Path:
    import gguf

    writer = gguf.GGUFWriter(path, architecture)
    if kind is not None:
        writer.add_type(kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.close()
    return path


@pytest.mark.parametrize(
    ("architecture", "kind", "said"),
    [
        ("clip", None, "mmproj.*the model's own GGUF"),
        ("clip", "mmproj", "mmproj.*the model's own GGUF"),
        ("llama", "adapter", "adapter.*--lora"),
        ("llama", "imatrix", "imatrix.*--imatrix"),
    ],
)
def test_what_is_no_model_is_refused(architecture: str, kind: str | None, said: str, tmp_path: Path) -> None:
    path = write(tmp_path / "x.gguf", architecture, kind)
    with pytest.raises(InvalidGGUF, match=said):
        require_model(read_gguf_info(path))
    with pytest.raises(InvalidGGUF, match=said):
        file_entry(path)


@pytest.mark.parametrize("name", ["mmproj-x.gguf", "x.MMProj-Q8_0.gguf", "a/mmproj/x.gguf", "x-mm-proj.gguf"])
def test_names(name: str) -> None:
    assert is_projector_name(name)
    assert not is_projector_name(name.lower().replace("mm", "m"))
