"""On a real file system that is too small: full in the middle, and larger weights than fit, in a stream.

A tmpfs is mounted for it, so it needs the right to mount.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from models.doctor.tiny_model import TinyModel, write_tiny_gguf
from models.errors import DiskFull
from models.paths import Paths
from models.reference import ModelRef
from models.store.store import ModelStore
from quantize.checkpoint.checkpoint import Checkpoint
from quantize.control import JobControl, QuantizationProgress
from quantize.job.request import QuantizeOptions
from quantize.job.service import quantize_reference
from quantize.moments.collect import MomentControl, collect_moments
from quantize.plan.types import TypeChoice
from quantize.run.options import RunOptions
from tests.hub_server import HubServer
from tests.pico import write_pico_checkpoint
from tests.quantize.calibration.pico_moments import calibration_by, collect_pico_moments
from tests.quantize.job.test_held_out_check import SPOILED, Pass, spoil
from tests.quantize.moments.test_collect import IN_PARTS, PLAN
from tests.quantize.quantize_folder import quantize_folder

SIZE = 12 * 2**20


@pytest.fixture
def small(tmp_path: Path) -> Iterator[Path]:
    folder = tmp_path / "small"
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={SIZE}", "tmpfs", str(folder)], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip("file systems can't be mounted here")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


@pytest.fixture
def large(tmp_path: Path) -> Path:
    """Weights of 20 MiB."""
    return write_pico_checkpoint(
        tmp_path / "large", n_layers=8, sharded=True, config={"intermediate_size": 1024}
    )


def used_bytes(mount: Path) -> int:
    state = os.statvfs(mount)
    return (state.f_blocks - state.f_bfree) * state.f_frsize


def test_a_disk_that_fills_up_in_the_middle(small: Path, large: Path) -> None:
    store = ModelStore(Paths(home=small / "home", hf_cache=small / "hub"))
    ref = ModelRef.parse(str(large))
    quantize_reference(ref, ["Q2_K"], store=store)
    before = store.list()

    def fill(_event: object) -> None:
        """Somebody else takes the space that was there when it was planned."""
        taken = small / "taken"
        if not taken.exists():
            with taken.open("wb") as file, contextlib.suppress(OSError):
                while file.write(bytes(2**16)):
                    file.flush()

    with pytest.raises(DiskFull, match="no space left"):
        quantize_reference(ref, ["Q4_0"], store=store, control=JobControl(on_progress=fill))
    assert store.list() == before
    assert list(store.paths.staging_dir.iterdir()) == []
    (small / "taken").unlink()
    assert len(quantize_reference(ref, ["Q4_0"], store=store).files) == 1


def fill(folder: Path) -> Path:
    """Take all space that is left, as somebody else would; return the file that has it."""
    taken = folder / "taken"
    with taken.open("ab", buffering=0) as file, contextlib.suppress(OSError):
        while file.write(bytes(2**12)):
            pass
    return taken


def test_a_calibrated_pass_on_a_disk_that_fills_up_is_gone_on_with(
    small: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Its hours of work are kept: what is whole by then, and after the check all but what is made again."""
    directory = write_pico_checkpoint(tmp_path / "pico")
    sixteen = quantize_folder(directory, ["F16"], tmp_path)[0].path
    store = ModelStore(Paths(home=small / "home", hf_cache=small / "hub"))
    ref = ModelRef.parse(str(directory))
    quantize_reference(ref, ["Q8_0"], store=store)
    before, resumed = store.list(), []
    with collect_pico_moments(sixteen, tmp_path) as moments:
        options = QuantizeOptions(
            choice=TypeChoice(calibration=calibration_by(moments)),
            run=RunOptions(threads=1, save_every_s=0.01),
        )
        expected = quantize_reference(ref, ["Q4_0"], store=store, options=replace(options, out_dir=tmp_path))

        def fill_later(event: QuantizationProgress) -> None:
            if event.tensors_done == 6:
                fill(small)

        control = JobControl(on_progress=fill_later)
        with pytest.raises(DiskFull, match="no space left"):
            quantize_reference(ref, ["Q4_0"], store=store, options=options, control=control)
        assert "what is done is kept, and the same command goes on" in caplog.text
        assert store.list() == before
        with pytest.raises(DiskFull, match=r"bytes and .* free"):
            quantize_reference(ref, ["Q4_0"], store=store, options=options)
        (small / "taken").unlink()
        control = JobControl(on_resume=lambda n, _: resumed.append(n))
        made = quantize_reference(ref, ["Q4_0"], store=store, options=options, control=control)
    assert resumed[0] >= 5
    assert made.files[0].sha256 == expected.files[0].sha256


def test_tensors_that_are_made_again_on_a_full_disk(small: Path, tmp_path: Path) -> None:
    """The journal that is to say which they are can't be written: the next run judges anew."""
    directory = write_pico_checkpoint(tmp_path / "pico")
    sixteen = quantize_folder(directory, ["F16"], tmp_path)[0].path
    with collect_pico_moments(sixteen, tmp_path) as moments, Checkpoint.open(directory) as checkpoint:
        one = Pass(checkpoint, small / "work", calibration_by(moments))
        one.folder.mkdir()
        journal = one.journal()
        written = one.make(journal)
        spoil(one.path)
        taken = fill(small)
        with pytest.raises(OSError, match="No space left"):
            one.check(journal, written, sixteen)
        one = replace(one, calibration=calibration_by(moments))
        journal = one.journal()
        assert journal.done == set(range(len(one.plan.tensors)))
        taken.unlink()
        _, (verdict,) = one.check(journal, one.make(journal), sixteen)
    assert SPOILED in {kind.kind for kind in verdict.fallen}
    assert verdict.published[0].calibrated < verdict.whole[0].calibrated


def test_moments_on_a_disk_that_fills_up(small: Path, tmp_path: Path) -> None:
    """Their file has its room from the beginning; sums in work, once they were kept, are gone on with."""
    model = write_tiny_gguf(tmp_path / "tiny.gguf", TinyModel())
    collect_moments(model, PLAN, tmp_path / "x.gguf", label="text", means=IN_PARTS)
    taken: list[Path] = []

    def stop(done: int, _total: int) -> None:
        if done == 2:
            taken.append(fill(small))
            cancel.set()

    cancel = threading.Event()
    control = MomentControl(on_chunks=stop, cancel=cancel, keep_every_s=0.0)
    with pytest.raises(DiskFull, match=r"can't write x\.gguf: no space left .* set --out elsewhere"):
        collect_moments(model, PLAN, small / "x.gguf", label="text", means=IN_PARTS, control=control)
    assert not (small / "x.gguf").exists()
    resumed: list[tuple[int, int]] = []
    seen: list[int] = []
    control = MomentControl(
        lambda *numbers: resumed.append(numbers), lambda done, _: seen.append(done), keep_every_s=0.0
    )
    collect_moments(model, PLAN, small / "x.gguf", label="text", means=IN_PARTS, control=control)
    assert len(resumed) == 1
    assert seen[0] == 2, "the first chunk's sums were kept before the disk was full"
    assert (small / "x.gguf").read_bytes() == (tmp_path / "x.gguf").read_bytes()
    assert taken[0].stat().st_size > 0


def test_weights_larger_than_the_disk(
    small: Path, large: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    weights = sum(path.stat().st_size for path in large.glob("*.safetensors"))
    assert weights > SIZE
    monkeypatch.setattr("quantize.checkpoint.prefetch.CHUNK_BYTES", 2**18)
    store = ModelStore(Paths(home=small / "home", hf_cache=small / "hub"))
    peak, done = 0, threading.Event()

    def watch() -> None:
        """The file system counts, since a file that a walk found may be gone before it is measured."""
        nonlocal peak
        while not done.wait(0.01):
            peak = max(peak, used_bytes(small))

    with HubServer() as hub:
        hub.add("someone/large", large)
        for key, value in hub.environment(tmp_path).items():
            monkeypatch.setenv(key, value)
        watcher = threading.Thread(target=watch)
        watcher.start()
        try:
            ref, options = ModelRef.parse("someone/large"), QuantizeOptions(run=RunOptions(stream=True))
            with pytest.raises(DiskFull):
                quantize_reference(ref, ["Q4_0"], store=store)
            outcome = quantize_reference(ref, ["Q4_0"], store=store, options=options)
        finally:
            time.sleep(0.02)
            done.set()
            watcher.join()
    assert [line.partition(": ")[2] for line in outcome.verified] == ["sha256 is the Hub's"] * 2
    assert peak <= sum(file.size_bytes for file in outcome.files) + 2**20
