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
from pathlib import Path

import pytest

from models.errors import DiskFull
from models.paths import Paths
from models.reference import ModelRef
from models.store.store import ModelStore
from quantize.control import JobControl
from quantize.job.request import QuantizeOptions
from quantize.job.service import quantize_reference
from quantize.run.options import RunOptions
from tests.hub_server import HubServer
from tests.pico import write_pico_checkpoint

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
