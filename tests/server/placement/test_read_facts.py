from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from models.doctor.tiny_model import TinyModel, write_tiny_gguf
from models.errors import InvalidGGUF
from models.gguf.info import read_gguf_info
from server.ipc.model_spec import AdapterSpec, ModelSpec
from server.kernels.outlook import expects_panels
from server.placement.read_facts import drafts_itself, read_facts
from server.serve_options import ServeOptions
from tests.server.worker.family_models import write_family_gguf


def test_adapters_count_with_their_files_and_the_draft_model_by_its_header(tmp_path: Path) -> None:
    info = read_gguf_info(write_tiny_gguf(tmp_path / "tiny.gguf"))
    draft = write_tiny_gguf(tmp_path / "draft.gguf", TinyModel(n_layer=1))
    file = tmp_path / "adapter.gguf"
    file.write_bytes(bytes(1234))
    spec = ModelSpec(name="tiny", path=str(info.path))
    facts = read_facts(spec, info)
    assert (facts.model, facts.adapter_bytes, facts.draft) == (info, 0, None)
    assert facts.in_panels is expects_panels(info, spec.options)
    off = ServeOptions(kernels="off")
    assert not read_facts(msgspec.structs.replace(spec, options=off), info).in_panels

    adapters = (AdapterSpec(0, str(file)), AdapterSpec(1, str(file)), AdapterSpec(2, f"{file}.gone"))
    full = read_facts(msgspec.structs.replace(spec, adapters=adapters, draft_path=str(draft)), info)
    assert full.adapter_bytes == 2 * 1234
    assert full.draft == read_gguf_info(draft)

    with pytest.raises(InvalidGGUF, match="adapter"):
        read_facts(msgspec.structs.replace(spec, draft_path=str(file)), info)


def test_a_further_layer_drafts_unless_another_does_or_images_come(tmp_path: Path) -> None:
    info = read_gguf_info(write_family_gguf("glm4-moe", tmp_path))
    spec = ModelSpec(name="tiny", path=str(info.path))
    facts = read_facts(spec, info)
    assert facts.drafts_itself
    assert facts.head_state_bytes == 4 * (info.n_embd or 0) > 0
    replace = msgspec.structs.replace
    assert not drafts_itself(replace(spec, projector_path="seeing.gguf"), info)
    assert not drafts_itself(replace(spec, draft_path=str(info.path)), info)
    assert not drafts_itself(replace(spec, options=ServeOptions(speculate="off")), info)
