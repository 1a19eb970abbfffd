"""One pass: each tensor read once, memory bounded by blocks in flight, progress that adds up, clean ends."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Mapping
from pathlib import Path

import pytest

from models.errors import CheckpointError, QuantizationError
from models.gguf_info import read_gguf_info
from quantize import pipeline
from quantize.checkpoint.checkpoint import Checkpoint
from quantize.checkpoint.source import Rows, TensorEntry, TensorSource
from quantize.encode import Block, Encoded, encode
from quantize.pipeline import QuantizationProgress, blocks_in_flight, make_plan, quantize, run
from quantize.service import verify
from tests.pico import write_pico_checkpoint

TYPES = ["Q8_0", "Q5_K_M", "Q4_K_M"]


@pytest.fixture(scope="module")
def pico(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_pico_checkpoint(tmp_path_factory.mktemp("pipeline") / "pico")


class CountingSource:
    """Counts how often each row is read."""

    def __init__(self, source: TensorSource) -> None:
        self._source = source
        self._lock = threading.Lock()
        self.reads: Counter[tuple[str, int]] = Counter()

    @property
    def entries(self) -> Mapping[str, TensorEntry]:
        return self._source.entries

    def rows(self, name: str, start: int, stop: int) -> Rows:
        with self._lock:
            self.reads.update((name, row) for row in range(start, stop))
        return self._source.rows(name, start, stop)

    def close(self) -> None:
        self._source.close()


def test_every_row_is_read_once(pico: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("quantize.encode.BLOCK_ELEMENTS", 5000)
    with Checkpoint.open(pico) as checkpoint:
        plan = make_plan(checkpoint, TYPES)
        source = CountingSource(checkpoint.tensors)
        run(plan, source, [tmp_path / type_ for type_ in TYPES], threads=3)
    expected = {(name, row) for name, entry in source.entries.items() for row in range(entry.shape[0])}
    assert set(source.reads) == expected
    assert set(source.reads.values()) == {1}


def test_files_are_what_was_planned(pico: Path, tmp_path: Path) -> None:
    result = quantize(pico, TYPES, tmp_path, threads=2)
    assert [file.path.name for file in result.files] == [f"pico.{type_}.gguf" for type_ in TYPES]
    for written, planned in zip(result.files, result.plan.files, strict=True):
        verify(written, planned)
        assert written.size_bytes == written.path.stat().st_size == planned.size_bytes
        assert read_gguf_info(written.path).n_params == result.plan.n_parameters


def test_the_hash_on_the_way_is_the_files(pico: Path, tmp_path: Path) -> None:
    import hashlib

    (file,) = quantize(pico, ["Q4_0"], tmp_path, threads=2).files
    assert file.sha256 == hashlib.sha256(file.path.read_bytes()).hexdigest()


@pytest.mark.parametrize(("threads", "block_elements"), [(1, 2**20), (2, 300), (5, 70_000)])
def test_threads_and_blocks_change_nothing(
    pico: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, threads: int, block_elements: int
) -> None:
    expected = [file.sha256 for file in quantize(pico, TYPES, tmp_path, name="one", threads=2).files]
    monkeypatch.setattr("quantize.encode.BLOCK_ELEMENTS", block_elements)
    (tmp_path / "again").mkdir()
    again = quantize(pico, TYPES, tmp_path / "again", name="one", threads=threads)
    assert [file.sha256 for file in again.files] == expected


def test_progress_adds_up(pico: Path, tmp_path: Path) -> None:
    events: list[QuantizationProgress] = []
    result = quantize(pico, TYPES, tmp_path, threads=2, on_progress=events.append)
    read = [event.source_bytes_read for event in events]
    assert read == sorted(read)
    last = events[-1]
    assert last.source_bytes_read == last.source_bytes == result.plan.source_bytes
    assert last.tensors_done == last.tensors == len(result.plan.tensors)
    assert last.written_bytes == {file.type: file.size_bytes for file in result.files}
    assert {event.tensor for event in events} == {tensor.name for tensor in result.plan.tensors}


def test_blocks_in_flight_are_bounded(pico: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """While the writer stands still, reading stops."""
    monkeypatch.setattr("quantize.encode.BLOCK_ELEMENTS", 3000)
    with Checkpoint.open(pico) as checkpoint:
        plan = make_plan(checkpoint, ["F16"])
        source = CountingSource(checkpoint.tensors)
        submitted = 0
        taken = 0

        def counting(block: Block, tensors: TensorSource) -> list[Encoded]:
            nonlocal submitted
            submitted += 1
            assert submitted - taken <= blocks_in_flight(2) + 2
            return encode(block, tensors)

        monkeypatch.setattr(pipeline, "encode", counting)

        def take(_event: QuantizationProgress) -> None:
            nonlocal taken
            taken += 1

        run(plan, source, [tmp_path / "x"], threads=2, on_progress=take)
    assert submitted == taken > 100


def test_cancelling_ends_it(pico: Path, tmp_path: Path) -> None:
    cancel = threading.Event()
    with pytest.raises(QuantizationError, match="cancelled"):
        quantize(pico, TYPES, tmp_path, threads=2, cancel=cancel, on_progress=lambda _: cancel.set())
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("encode")]


def test_an_error_in_a_thread_reaches_the_caller(pico: Path, tmp_path: Path) -> None:
    class Broken(CountingSource):
        def rows(self, name: str, start: int, stop: int) -> Rows:
            if "layers.1.mlp" in name:
                raise CheckpointError("the disk is gone")
            return super().rows(name, start, stop)

    with Checkpoint.open(pico) as checkpoint:
        plan = make_plan(checkpoint, ["Q8_0"])
        with pytest.raises(CheckpointError, match="the disk is gone"):
            run(plan, Broken(checkpoint.tensors), [tmp_path / "x"], threads=2)
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("encode")]


def test_existing_files_are_not_overwritten(pico: Path, tmp_path: Path) -> None:
    (tmp_path / "pico.Q8_0.gguf").write_text("mine")
    with pytest.raises(FileExistsError):
        quantize(pico, ["Q8_0"], tmp_path)
    assert (tmp_path / "pico.Q8_0.gguf").read_text() == "mine"


def test_no_threads_is_an_error(pico: Path, tmp_path: Path) -> None:
    with pytest.raises(QuantizationError, match="0 threads"):
        quantize(pico, ["Q8_0"], tmp_path, threads=0)
