"""When rows of logits stay on the device, by settings, hardware and measurement."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from models.errors import LlamaCppError
from models.llamacpp import library
from models.llamacpp.context import Context
from models.llamacpp.device_top_k import DeviceTopK
from models.llamacpp.model import Model
from models.machine.device import Device
from server.ipc.model_spec import ModelSpec
from server.serve_options import ServeOptions
from server.worker.open import device_sampling
from server.worker.open.device_sampling import (
    choose_device_sampling,
    open_device_sampling,
    output_is_on_gpu,
    step_s,
)
from server.worker.run.runner import LlamaRunner, RunnerParts
from tests.server.worker.session import N_CTX, f32_context

pytestmark = pytest.mark.model

CPU = Device("CPU", "", "cpu", 2**34, 2**34)
GPU = Device("GPU0", "", "gpu", 2**34, 2**34)


@pytest.fixture
def context(model: Model) -> Iterator[Context]:
    with f32_context(model, n_seq_max=3) as made:
        yield made


def times(monkeypatch: pytest.MonkeyPatch, *seconds: float) -> list[tuple[int, bool]]:
    """Have the next measured steps take `seconds`; the list of their rows, and whether on the device."""
    left, rows = iter(seconds), []

    def scripted(_context: Context, n_rows: int, *, on_device: bool) -> float:
        rows.append((n_rows, on_device))
        return next(left)

    monkeypatch.setattr(device_sampling, "step_s", scripted)
    return rows


def n_on(context: Context) -> int:
    return len(context.device_top_k(64))


def test_measured_it_stays_where_it_is_quicker(context: Context, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = times(monkeypatch, 0.010, 0.020, 0.011, 0.018)
    assert open_device_sampling(context, measure=True)
    assert rows == [(1, False), (3, False), (1, True), (3, True)]
    assert n_on(context) == 3


def test_measured_it_goes_where_it_is_slower(context: Context, monkeypatch: pytest.MonkeyPatch) -> None:
    times(monkeypatch, 0.010, 0.020, 0.011, 0.020, 0.010)
    assert not open_device_sampling(context, measure=True)
    assert n_on(context) == 0


def test_a_device_that_cant_is_left_alone(context: Context, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(DeviceTopK, "turn_on", lambda *_: False)
    assert not open_device_sampling(context, measure=False)
    assert not open_device_sampling(context, measure=True)
    assert n_on(context) == 0


def test_steps_leave_nothing_behind(context: Context) -> None:
    for n_rows in (1, 3):
        assert step_s(context, n_rows, on_device=True) > 0
    assert n_on(context) == 3, "the steps are such that rows can stay"
    assert [context.seq_pos_max(slot) for slot in range(3)] == [None] * 3


def test_a_runner_refuses_a_device_that_cant(context: Context, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(DeviceTopK, "turn_on", lambda *_: False)
    with pytest.raises(LlamaCppError, match="--device-sampling off"):
        LlamaRunner(context, N_CTX, can_trim=True, parts=RunnerParts(on_device=True))


def test_the_output_layer_is_the_first_to_be_offloaded() -> None:
    class Offloaded:
        n_gpu_layers = 1

    class Host:
        n_gpu_layers = 0

    assert output_is_on_gpu(Offloaded(), [CPU, GPU])  # type: ignore[arg-type]
    assert not output_is_on_gpu(Offloaded(), [CPU])  # type: ignore[arg-type]
    assert not output_is_on_gpu(Host(), [CPU, GPU])  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("options", "on_gpu", "opened"),
    [
        ({}, True, [True]),
        ({}, False, []),
        ({"device_sampling": "off"}, True, []),
        ({"device_sampling": "on"}, False, [False]),
        ({"speculate": "ngram"}, True, []),
        ({"draft_path": "small.gguf"}, True, []),
        ({"speculate": "ngram", "device_sampling": "on"}, True, [False]),
    ],
)
def test_settings(
    context: Context,
    monkeypatch: pytest.MonkeyPatch,
    options: dict[str, Any],
    on_gpu: bool,
    opened: list[bool],
) -> None:
    """`opened`: whether it was opened, and then whether measured."""
    asked: list[bool] = []

    def record(_context: Context, *, measure: bool) -> bool:
        asked.append(measure)
        return True

    monkeypatch.setattr(device_sampling, "open_device_sampling", record)
    monkeypatch.setattr(context.model, "n_gpu_layers", int(on_gpu))
    monkeypatch.setattr(library, "devices", lambda: [CPU, GPU])
    draft_path = options.pop("draft_path", None)
    spec = ModelSpec(name="pico", path="pico.gguf", options=ServeOptions(**options), draft_path=draft_path)
    assert choose_device_sampling(spec, context) == bool(opened)
    assert asked == opened
