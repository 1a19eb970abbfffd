"""What the opener of decoder models makes of settings, memory and hardware."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import pytest

from models.errors import CorralError, RequestError
from models.llamacpp.context import Context
from models.llamacpp.model import Model
from server.engine.batch import Adapters
from server.engine.request import EngineRequest
from server.engine.sampling_params import SamplingParams
from server.ipc.model_spec import AdapterSpec, Findings, KernelReport
from server.kernels.use import KernelChoice
from server.worker.open import decoder
from server.worker.open.decoder import open_speculation, open_threads
from server.worker.open.step_times import measure_steps
from server.worker.run.prefill_context import PrefillContext
from server.worker.run.runner import LlamaRunner
from tests.adapter_gguf import adapter_tensors, write_adapter_gguf
from tests.memory_models import write_recurrent_gguf, write_windowed_gguf
from tests.server.worker.open.loaded import file_of, loaded
from tests.server.worker.session import N_CTX

pytestmark = pytest.mark.model


def request(adapters: Adapters) -> EngineRequest:
    return EngineRequest(id="one", prompt_tokens=[5], params=SamplingParams(), adapters=adapters)


def test_a_state_that_cannot_be_trimmed_is_served_without_speculation(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with loaded(write_recurrent_gguf(tmp_path / "recurrent.gguf"), speculate="ngram") as served:
        assert isinstance(served.runner, LlamaRunner)
        assert not served.runner.can_trim
        assert served.speculation is None
    assert "without speculation" in caplog.text


def test_on_auto_a_few_are_guessed_for_where_it_can_be(
    pico_path: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with loaded(pico_path) as served:
        assert served.speculation is not None
    with loaded(pico_path, speculate="off") as served:
        assert served.speculation is None
    with loaded(write_recurrent_gguf(tmp_path / "recurrent.gguf")) as served:
        assert served.speculation is None
    assert not caplog.records, "nobody asked for it"


def test_on_auto_logits_that_stay_on_a_gpu_are_left_there(model: Model) -> None:
    def opened(speculate: str, *, on_device: bool) -> bool:
        file = file_of(model, speculate=speculate)
        return open_speculation(file, context, can_trim=True, on_device=on_device)[0] is not None

    with Context(model, n_ctx=N_CTX) as context:
        assert [opened("auto", on_device=where) for where in (False, True)] == [True, False]
        assert [opened("ngram", on_device=where) for where in (False, True)] == [True, True]


def test_the_cost_of_steps_is_tried_before_the_first_request(pico_path: Path) -> None:
    with loaded(pico_path) as served:
        times = dict(served.step_times)
    assert {1, 4} <= times.keys() <= {1, 2, 4, 8, 16, 32}
    assert all(seconds > 0 for seconds in times.values())


def test_a_small_context_is_tried_with_what_fits(model: Model) -> None:
    with Context(model, n_ctx=512, n_batch=3, n_seq_max=2) as context:
        assert {size for size, _ in measure_steps(context)} == {1, 2}
        assert context.seq_pos_max(0) is None


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
    with loaded(path, prompt_side=prompt_side, kernels="off"):
        assert requests == measured


@pytest.mark.parametrize(
    ("by", "types", "prompt_side", "measured"),
    [
        ("corral", ("F32",), "auto", []),
        ("corral", ("F32",), "on", [False]),
        ("corral", ("F32",), "off", []),
        ("corral", ("Q4_K",), "auto", [True]),
        ("llama.cpp", (), "auto", [True]),
    ],
)
def test_beside_our_matrix_kernels_there_is_no_prefill_context_unless_asked_for(
    pico_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    by: Literal["corral", "llama.cpp"],
    types: tuple[str, ...],
    prompt_side: str,
    measured: list[bool],
) -> None:
    """They are off, so that there is a place for it; it is the report that is acted on."""
    requests: list[bool] = []

    def record(*_: Any, measure: bool) -> PrefillContext | None:
        requests.append(measure)
        return None

    report = KernelReport(by=by, types=types, n_matrices=9)
    monkeypatch.setattr(decoder, "open_prefill_context", record)
    monkeypatch.setattr(KernelChoice, "report", lambda _choice: report)
    with loaded(pico_path, prompt_side=prompt_side, kernels="off"):
        assert requests == measured
    assert ("prompt_side is on" in caplog.text) == (by == "corral" and prompt_side == "on")


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


def test_what_an_earlier_worker_has_measured_is_not_measured_again(
    pico_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with loaded(pico_path) as served:
        found = served.info.findings
    assert found is not None
    assert found.step_times[0][0] == 1
    assert all(seconds > 0 for _, seconds in found.step_times)
    known = Findings(step_times=found.step_times)  # a prompt side didn't pay

    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("it is known")

    monkeypatch.setattr(decoder, "measure_steps", refuse)
    monkeypatch.setattr(decoder, "open_prefill_context", refuse)
    with loaded(pico_path, findings=known) as served:
        assert served.info.findings == known
        assert served.step_times == known.step_times
