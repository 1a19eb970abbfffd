"""One pass: each tensor read once, few blocks ahead, progress that adds up, parts, a journal, clean ends."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

from models.errors import CheckpointError, QuantizationError
from models.gguf.info import read_gguf_info
from quantize.checkpoint.checkpoint import Checkpoint
from quantize.checkpoint.source import Rows, TensorEntry, TensorSource
from quantize.control import Cancelled, JobControl, QuantizationProgress
from quantize.job.publish import verify
from quantize.plan.make_plan import make_plan
from quantize.plan.plan import QuantizationPlan
from quantize.run.journal import Journal
from quantize.run.options import RunOptions
from quantize.run.pipeline import run
from quantize.run.writer import WrittenFile
from tests.pico import write_pico_checkpoint

TYPES = ["Q8_0", "Q5_K_M", "Q4_K_M"]


@pytest.fixture(scope="module")
def pico(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_pico_checkpoint(tmp_path_factory.mktemp("pipeline") / "pico")


class CountingSource(TensorSource):
    """Counts how often each row is read."""

    def __init__(self, source: TensorSource) -> None:
        self._source = source
        self._lock = threading.Lock()
        self.reads: Counter[tuple[str, int]] = Counter()
        self.calls = 0

    @property
    def entries(self) -> Mapping[str, TensorEntry]:
        return self._source.entries

    def rows(self, name: str, start: int, stop: int) -> Rows:
        with self._lock:
            self.calls += 1
            self.reads.update((name, row) for row in range(start, stop))
        return self._source.rows(name, start, stop)

    def close(self) -> None:
        self._source.close()


def plan_and_run(
    folder: Path, types: Sequence[str], out: Path, *, threads: int = 2, control: JobControl | None = None
) -> tuple[QuantizationPlan, tuple[WrittenFile, ...]]:
    with Checkpoint.open(folder) as checkpoint:
        plan = make_plan(checkpoint, types)
        paths = [out / f"pico.{type_}.gguf" for type_ in types]
        return plan, run(plan, checkpoint.tensors, paths, RunOptions(threads=threads), control=control)


def assert_no_thread_is_left() -> None:
    ours = ("encode", "hash", "save")
    assert not [thread for thread in threading.enumerate() if thread.name.startswith(ours)]


def test_every_row_is_read_once(pico: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("quantize.run.memory_budget.BLOCK_ELEMENTS", 5000)
    with Checkpoint.open(pico) as checkpoint:
        plan = make_plan(checkpoint, TYPES)
        source = CountingSource(checkpoint.tensors)
        run(plan, source, [tmp_path / type_ for type_ in TYPES], RunOptions(threads=3))
    expected = {(name, row) for name, entry in source.entries.items() for row in range(entry.shape[0])}
    assert set(source.reads) == expected
    assert set(source.reads.values()) == {1}


def test_files_are_what_was_planned(pico: Path, tmp_path: Path) -> None:
    plan, files = plan_and_run(pico, TYPES, tmp_path)
    for written, planned in zip(files, plan.files, strict=True):
        verify(written, planned)
        assert written.size_bytes == written.path.stat().st_size == planned.size_bytes
        assert read_gguf_info(written.path).n_params == plan.n_parameters


def test_the_hash_on_the_way_is_the_files(pico: Path, tmp_path: Path) -> None:
    import hashlib

    _, (file,) = plan_and_run(pico, ["Q4_0"], tmp_path)
    assert file.sha256 == (hashlib.sha256(file.path.read_bytes()).hexdigest(),)


@pytest.mark.parametrize(("threads", "block_elements"), [(1, 2**20), (2, 300), (5, 70_000)])
def test_threads_and_blocks_change_nothing(
    pico: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, threads: int, block_elements: int
) -> None:
    expected = [file.sha256 for file in plan_and_run(pico, TYPES, tmp_path)[1]]
    monkeypatch.setattr("quantize.run.memory_budget.BLOCK_ELEMENTS", block_elements)
    (tmp_path / "again").mkdir()
    monkeypatch.setattr("quantize.run.encode.PIECE_ELEMENTS", 1 + block_elements // 3)
    _, again = plan_and_run(pico, TYPES, tmp_path / "again", threads=threads)
    assert [file.sha256 for file in again] == expected


def test_progress_adds_up(pico: Path, tmp_path: Path) -> None:
    events: list[QuantizationProgress] = []
    plan, files = plan_and_run(pico, TYPES, tmp_path, control=JobControl(on_progress=events.append))
    read = [event.source_bytes_read for event in events]
    assert read == sorted(read)
    last = events[-1]
    assert last.source_bytes_read == last.source_bytes == plan.source_bytes
    assert last.tensors_done == last.tensors == len(plan.tensors)
    assert last.written_bytes == {file.type: file.size_bytes for file in files}
    assert {event.tensor for event in events} == {tensor.name for tensor in plan.tensors}


def test_few_blocks_are_read_ahead(pico: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """While nobody asks for progress, reading stops."""
    monkeypatch.setattr("quantize.run.memory_budget.BLOCK_ELEMENTS", 3000)
    with Checkpoint.open(pico) as checkpoint:
        plan = make_plan(checkpoint, ["F16"])
        source = CountingSource(checkpoint.tensors)
        taken = 0

        def take(_event: QuantizationProgress) -> None:
            nonlocal taken
            taken += 1
            assert source.calls - taken <= 2 * 2

        run(plan, source, [tmp_path / "x"], RunOptions(threads=2), control=JobControl(on_progress=take))
    assert source.calls == taken > 100


def test_in_the_order_of_the_source(pico: Path, tmp_path: Path) -> None:
    """What a stream asks for; the files are the same."""
    names: list[str] = []
    with Checkpoint.open(pico) as checkpoint:
        plan = make_plan(checkpoint, ["Q8_0"])
        (usual,) = run(plan, checkpoint.tensors, [tmp_path / "usual"])
        options = RunOptions(threads=1, stream=True)
        control = JobControl(on_progress=lambda p: names.append(p.tensor))
        (streamed,) = run(plan, checkpoint.tensors, [tmp_path / "streamed"], options, control=control)
        order = {name: place for place, name in enumerate(checkpoint.tensors.entries)}
    places = [order[{tensor.name: tensor for tensor in plan.tensors}[name].sources[0]] for name in names]
    assert places == sorted(places)
    assert streamed.sha256 == usual.sha256


@pytest.mark.model
def test_parts_are_one_model(pico: Path, tmp_path: Path) -> None:
    """Named and numbered as gguf-split's, so llama.cpp loads them by the first; and with the same tensors."""
    import numpy as np

    from models.llamacpp.model import Model

    with Checkpoint.open(pico) as checkpoint:
        plan = make_plan(checkpoint, ["Q8_0"])
        (whole,) = run(plan, checkpoint.tensors, [tmp_path / "whole.gguf"])
        options = RunOptions(split_bytes=2**20)
        (split,) = run(plan, checkpoint.tensors, [tmp_path / "split.gguf"], options)
    assert [path.name for path in split.paths] == [
        "split-00001-of-00002.gguf",
        "split-00002-of-00002.gguf",
    ]
    assert all(path.stat().st_size <= 2**20 for path in split.paths)
    one, parts = read_gguf_info(whole.path), read_gguf_info(split.path)
    assert [tensor.name for tensor in parts.tensors] == [tensor.name for tensor in one.tensors]
    for mine, other in zip(parts.tensors, one.tensors, strict=True):
        data = np.fromfile(split.paths[mine.part], np.uint8, mine.nbytes, offset=mine.offset)
        np.testing.assert_array_equal(
            data, np.fromfile(whole.path, np.uint8, other.nbytes, offset=other.offset)
        )
    with Model.load(split.path) as model:
        assert model.n_params == one.n_params


def test_a_journal_is_gone_on_with(pico: Path, tmp_path: Path) -> None:
    """Tensors that it knows are not read again, and the files are what they would have been."""
    (tmp_path / "again").mkdir()
    with Checkpoint.open(pico) as checkpoint:
        plan = make_plan(checkpoint, TYPES)
        whole = run(plan, checkpoint.tensors, [tmp_path / type_ for type_ in TYPES])
        paths = [tmp_path / "again" / type_ for type_ in TYPES]

        def stop(event: QuantizationProgress) -> None:
            if event.tensors_done == 9:
                control.cancel.set()

        journal = Journal(tmp_path / "journal", "key")
        control, options = JobControl(on_progress=stop), RunOptions(threads=2)
        with pytest.raises(Cancelled):
            run(plan, checkpoint.tensors, paths, options, journal=journal, control=control)
        assert journal.done == set(range(9))
        source = CountingSource(checkpoint.tensors)
        again = run(plan, source, paths, options, journal=Journal(tmp_path / "journal", "key"))
    done = {name for tensor in plan.tensors[:9] for name in tensor.sources}
    assert not done & {name for name, _ in source.reads}
    assert [file.sha256 for file in again] == [file.sha256 for file in whole]


def test_cancelling_ends_it(pico: Path, tmp_path: Path) -> None:
    control = JobControl(on_progress=lambda _: control.cancel.set())
    with pytest.raises(Cancelled, match="cancelled"):
        plan_and_run(pico, TYPES, tmp_path, control=control)
    assert_no_thread_is_left()


def test_an_error_in_a_thread_reaches_the_caller(pico: Path, tmp_path: Path) -> None:
    class Broken(CountingSource):
        def rows(self, name: str, start: int, stop: int) -> Rows:
            if "layers.1.mlp" in name:
                raise CheckpointError("the disk is gone")
            return super().rows(name, start, stop)

    with Checkpoint.open(pico) as checkpoint:
        plan = make_plan(checkpoint, ["Q8_0"])
        with pytest.raises(CheckpointError, match="the disk is gone"):
            run(plan, Broken(checkpoint.tensors), [tmp_path / "x"], RunOptions(threads=2))
    assert_no_thread_is_left()


def test_existing_files_are_not_overwritten(pico: Path, tmp_path: Path) -> None:
    (tmp_path / "pico.Q8_0.gguf").write_text("mine")
    with pytest.raises(FileExistsError):
        plan_and_run(pico, ["Q8_0"], tmp_path)
    assert (tmp_path / "pico.Q8_0.gguf").read_text() == "mine"


def test_no_threads_is_an_error(pico: Path, tmp_path: Path) -> None:
    with pytest.raises(QuantizationError, match="0 threads"):
        plan_and_run(pico, ["Q8_0"], tmp_path, threads=0)
