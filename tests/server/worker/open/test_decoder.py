"""What the opener of decoder models makes of settings, memory and hardware."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from models.errors import CorralError, RequestError
from models.llamacpp.context import Context
from models.llamacpp.model import Model
from server.engine.batch import Adapters
from server.engine.request import EngineRequest
from server.engine.sampling_params import SamplingParams
from server.ipc.model_spec import AdapterSpec
from server.worker.open import decoder
from server.worker.open.decoder import open_threads
from server.worker.run.prefill_context import PrefillContext
from tests.adapter_gguf import adapter_tensors, write_adapter_gguf
from tests.memory_models import write_recurrent_gguf, write_windowed_gguf
from tests.server.worker.open.loaded import loaded
from tests.server.worker.session import N_CTX

pytestmark = pytest.mark.model


def request(adapters: Adapters) -> EngineRequest:
    return EngineRequest(id="one", prompt_tokens=[5], params=SamplingParams(), adapters=adapters)


def test_a_state_that_cannot_be_trimmed_is_served_without_speculation(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with loaded(write_recurrent_gguf(tmp_path / "recurrent.gguf"), speculate="ngram") as served:
        assert not served.runner.can_trim
        assert served.speculation is None
    assert "without speculation" in caplog.text


def test_its_adapters_are_ready_and_no_others(pico_path: Path, tmp_path: Path) -> None:
    path = write_adapter_gguf(tmp_path / "one.gguf", adapter_tensors(seed=1))
    with loaded(pico_path, adapters=(AdapterSpec(3, str(path)),)) as served:
        served.adapters.begin(request(((3, 1.0),)))
        with pytest.raises(RequestError):
            served.adapters.begin(request(((4, 1.0),)))


def test_without_its_adapters_a_model_isnt_served(pico_path: Path, tmp_path: Path) -> None:
    missing = AdapterSpec(0, str(tmp_path / "missing.gguf"))
    with pytest.raises(CorralError, match=r"missing\.gguf"), loaded(pico_path, adapters=(missing,)):
        pass


@pytest.mark.parametrize(
    ("prompt_side", "kind", "measured"),
    [
        ("auto", "plain", [True]),
        ("on", "plain", [False]),
        ("off", "plain", []),
        ("on", "windowed", []),
        ("on", "recurrent", []),
    ],
)
def test_a_prefill_context_is_for_memory_that_moves_whole(
    pico_path: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    prompt_side: str,
    kind: str,
    measured: list[bool],
) -> None:
    """`measured`: of each that was asked for, whether it was to be measured."""
    path = {
        "plain": lambda: pico_path,
        "windowed": lambda: write_windowed_gguf(tmp_path / "windowed.gguf"),
        "recurrent": lambda: write_recurrent_gguf(tmp_path / "recurrent.gguf"),
    }[kind]()
    requests: list[bool] = []

    def record(*_: Any, measure: bool) -> PrefillContext | None:
        requests.append(measure)
        return None

    monkeypatch.setattr(decoder, "open_prefill_context", record)
    with loaded(path, prompt_side=prompt_side):
        assert requests == measured


def test_threads_adapt_where_there_are_several_on_the_cpu(
    model: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Context(model, n_ctx=N_CTX, n_threads=2) as two, Context(model, n_ctx=N_CTX, n_threads=1) as one:
        threads = open_threads(two)
        assert threads is not None
        assert threads.n_threads == 2
        assert open_threads(one) is None
        monkeypatch.setattr(model, "n_gpu_layers", 1)
        assert open_threads(two) is None
