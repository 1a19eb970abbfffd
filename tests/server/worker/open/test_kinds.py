"""Each kind of model is opened by its own opener, into parts of which nothing can be set."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import FrozenInstanceError, fields
from pathlib import Path
from typing import get_args

import pytest

from models.errors import ModelLoadError
from models.gguf.info import read_gguf_info
from models.llamacpp.model import Model
from server.ipc.model_spec import KernelReport
from server.placement.facts import FreeMemory
from server.placement.place import place
from server.placement.read_facts import read_facts
from server.worker.open.kinds import KINDS, Kind, kind_of
from server.worker.open.parts import LoadedFile, LoadedModel
from server.worker.pooled.runner import PooledRunner
from server.worker.run.encoder_decoder import EncoderDecoderRunner
from server.worker.run.runner import LlamaRunner
from tests.server.worker.family_models import write_family_gguf
from tests.server.worker.open.loaded import loaded, spec_of

pytestmark = pytest.mark.model


@pytest.fixture(scope="module")
def paths(pico_path: Path, t5_path: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[Kind, Path]:
    return {
        "decoder": pico_path,
        "encoder_decoder": t5_path,
        "pooled": write_family_gguf("bert", tmp_path_factory.mktemp("bert")),
    }


@pytest.fixture(params=["decoder", "encoder_decoder"])
def served(paths: dict[Kind, Path], request: pytest.FixtureRequest) -> Iterator[LoadedModel]:
    with loaded(paths[request.param]) as model:
        yield model


def test_every_kind_has_an_opener() -> None:
    assert set(KINDS) == set(get_args(Kind))


@pytest.mark.parametrize("kind", get_args(Kind))
def test_the_kind_is_read_from_the_file_and_the_model(paths: dict[Kind, Path], kind: Kind) -> None:
    path = paths[kind]
    spec, info = spec_of(path), read_gguf_info(path)
    placement = place(read_facts(spec, info), spec.options, FreeMemory(2**34))
    with Model.load(path) as model:
        file = LoadedFile(
            spec=spec, info=info, model=model, placement=placement, n_threads=1, kernels=KernelReport()
        )
        assert kind_of(file) == kind


def test_a_diffusion_model_is_of_no_kind(pico_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Model, "is_diffusion", True)
    with pytest.raises(ModelLoadError, match="doesn't generate text"), loaded(pico_path):
        pass


def test_a_pooled_model_has_a_reader_of_texts(paths: dict[Kind, Path]) -> None:
    with loaded(paths["pooled"]) as served:
        assert isinstance(served.runner, PooledRunner)
        assert served.pooled is not None
        assert (served.speculation, served.prefixes) == (None, None)
        assert served.info.pooling == served.runner.pooling


def test_a_pooling_makes_a_decoder_a_pooled_model(paths: dict[Kind, Path]) -> None:
    with loaded(paths["decoder"], pooling="last") as served:
        assert isinstance(served.runner, PooledRunner)
        assert served.runner.pooling.is_causal


def test_an_encoder_decoder_makes_no_vectors(paths: dict[Kind, Path]) -> None:
    with (
        pytest.raises(ModelLoadError, match="makes no vectors; leave --pooling out"),
        loaded(paths["encoder_decoder"], pooling="mean"),
    ):
        pass


def test_a_decoder_has_all_the_parts_that_settings_ask_for(pico_path: Path, tmp_path: Path) -> None:
    with loaded(pico_path, speculate="ngram", prefix_folder=str(tmp_path), prefix_cache_gib=1.0) as served:
        assert isinstance(served.runner, LlamaRunner)
        assert served.runner.can_trim
        assert (served.info.n_ctx, served.info.n_parallel) == (64, 2)
        assert served.speculation is not None
        assert served.prefixes is not None


def test_an_encoder_decoder_has_neither_drafts_nor_prefixes(paths: dict[Kind, Path], tmp_path: Path) -> None:
    with loaded(
        paths["encoder_decoder"], speculate="ngram", prefix_folder=str(tmp_path), prefix_cache_gib=1.0
    ) as served:
        assert isinstance(served.runner, EncoderDecoderRunner)
        assert not served.runner.can_trim
        assert (served.speculation, served.prefixes) == (None, None)


def test_nothing_can_be_set_once_a_model_is_loaded(served: LoadedModel) -> None:
    for field in fields(served):
        with pytest.raises(FrozenInstanceError):
            setattr(served, field.name, None)
    public = [name for name in dir(served.runner) if not name.startswith("_")]
    assert "run" in public
    for name in [*public, "on_decoded"]:
        with pytest.raises(AttributeError):
            setattr(served.runner, name, None)
