from __future__ import annotations

import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from models.doctor.tiny_model import TinyModel, write_tiny_gguf
from models.errors import ConfigError, DiskFull
from models.llamacpp.eval_callback import MatmulObserver
from models.llamacpp.model import Model
from quantize.control import Cancelled
from quantize.evaluate.windows import TextPlan, WindowRunner, cut_windows
from quantize.imatrix.compute import Sums, compute_imatrix
from quantize.imatrix.matrix import ImportanceMatrix
from quantize.moments.collect import MomentControl, MomentMeans, collect_moments, group_inputs
from quantize.moments.file import read_moments
from quantize.moments.inputs import SingleWindows, is_quantizable
from quantize.moments.moments import InputName
from tests.quantize.families.test_byte_identity_of_families import BY_NAME, written
from tests.quantize.quantize_folder import run_plan
from tests.server.cli.conftest import SENTENCE

pytestmark = pytest.mark.model

TEXT = "\n".join(" ".join(SENTENCE.split()[line % 7 :: 1 + line % 3]) for line in range(160))
PLAN = TextPlan(TEXT, 96)
WHOLE = MomentMeans()
IN_PARTS = MomentMeans(memory_bytes=8_000_000)
"""The pico model's sums take several passes with so little."""


@pytest.fixture(scope="module")
def pico(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_gguf(tmp_path_factory.mktemp("pico") / "pico.gguf", TinyModel())


@pytest.fixture(scope="module")
def whole(pico: Path) -> Path:
    """All in one pass, on one thread."""
    target = pico.with_name("whole.gguf")
    collect_moments(pico, PLAN, target, label="text", means=WHOLE)
    return target


def imatrix_by_window(path: Path, plan: TextPlan) -> ImportanceMatrix:
    """The sums of `corral imatrix`, with the windows computed one at a time."""
    sums = Sums()
    observer = MatmulObserver(is_quantizable, sums.add)
    with Model.load(path) as model:
        windows = SingleWindows(**vars(cut_windows(model, plan)))
        runner = WindowRunner(model, windows, threads=1, observer=observer)
        for number in range(len(windows)):
            runner.run(range(number, number + 1))
        runner.close()
    return ImportanceMatrix(sums.entries())


def rests(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.glob(".*"))


def test_the_diagonal_is_the_importance_matrix(pico: Path, tmp_path: Path) -> None:
    plan = TextPlan(TEXT, 96, 7)  # of seven chunks none is held out
    info = collect_moments(pico, plan, tmp_path / "x.gguf", label="text")
    assert (info.chunks, info.held_out_chunks, info.tokens) == (7, 0, 672)
    several = compute_imatrix(pico, plan, dataset="text", process_output=True)
    expected = imatrix_by_window(pico, plan)
    assert {*expected.entries} == {*several.entries}
    with read_moments(tmp_path / "x.gguf") as file:
        matrix = file.importance()
        assert {*expected.entries} == {*matrix.entries}
        for name, entry in expected.entries.items():
            assert matrix.entries[name].counts.tolist() == entry.counts.tolist()
            assert np.allclose(matrix.entries[name].sums, entry.sums, rtol=1e-5, atol=0), name
            # Of a batch with several windows llama.cpp's attention rounds otherwise.
            assert np.allclose(entry.sums, several.entries[name].sums, rtol=2e-3, atol=0), name
            moments = file.moments(name)
            assert moments is not None
            assert (len(moments.first), len(moments.held_out)) == (7, 0)


def test_the_end_of_a_long_chunk_counts(pico: Path, tmp_path: Path) -> None:
    """Of 520 tokens, 8 are left for a graph of their own."""
    collect_moments(pico, TextPlan(TEXT, 520, 2), tmp_path / "x.gguf", label="text")
    with read_moments(tmp_path / "x.gguf") as file:
        moments = file.moments("output.weight")
    assert moments is not None
    assert (moments.n_rows, len(moments.first)) == (1040, 2)


def test_held_out_rows_are_in_no_sum(whole: Path) -> None:
    with read_moments(whole) as file:
        info = file.info
        assert info.held_out_chunks == info.chunks // 8 >= 1
        moments = file.moments("blk.1.ffn_down.weight")
        assert moments is not None
        assert moments.n_rows == (info.chunks - info.held_out_chunks) * info.chunk_size
        assert len(moments.held_out) == min(256, info.held_out_chunks * info.chunk_size)
        assert len(moments.first) == min(32, info.chunks - info.held_out_chunks)


@pytest.mark.parametrize("means", [IN_PARTS, MomentMeans(threads=3)])
def test_passes_and_threads_change_no_byte(
    means: MomentMeans, pico: Path, whole: Path, tmp_path: Path
) -> None:
    counts: list[tuple[int, int]] = []
    control = MomentControl(on_chunks=lambda done, total: counts.append((done, total)))
    info = collect_moments(pico, PLAN, tmp_path / "x.gguf", label="text", means=means, control=control)
    assert (tmp_path / "x.gguf").read_bytes() == whole.read_bytes()
    passes = counts[-1][1] // info.chunks
    assert passes > 1 if means.memory_bytes else passes == 1
    assert [done for done, _ in counts] == [n + 1 for n in range(passes * info.chunks)]
    assert rests(tmp_path) == []


@pytest.mark.parametrize("at", [1, 7, 15])
def test_an_interrupted_run_is_gone_on_with(at: int, pico: Path, whole: Path, tmp_path: Path) -> None:
    target = tmp_path / "x.gguf"
    cancel = threading.Event()
    control = MomentControl(
        on_chunks=lambda done, _total: cancel.set() if done == at else None, cancel=cancel
    )
    with pytest.raises(Cancelled):
        collect_moments(pico, PLAN, target, label="text", means=IN_PARTS, control=control)
    assert not target.exists()
    resumed: list[tuple[int, int]] = []
    seen: list[int] = []
    control = MomentControl(lambda *numbers: resumed.append(numbers), lambda done, _total: seen.append(done))
    collect_moments(pico, PLAN, target, label="text", means=IN_PARTS, control=control)
    assert target.read_bytes() == whole.read_bytes()
    assert len(resumed) == 1
    assert rests(tmp_path) == []


KILLED = """
import os, signal, sys
from pathlib import Path
from quantize.moments.collect import MomentControl, collect_moments
from tests.quantize.moments.test_collect import IN_PARTS, PLAN
control = MomentControl(
    on_chunks=lambda done, _total: done == int(sys.argv[3]) and os.kill(os.getpid(), signal.SIGKILL),
    keep_every_s=0.0,
)
collect_moments(Path(sys.argv[1]), PLAN, Path(sys.argv[2]), label="text", means=IN_PARTS, control=control)
"""


def test_a_killed_run_is_gone_on_with(pico: Path, whole: Path, tmp_path: Path) -> None:
    """In the second pass; with other memory, too."""
    target = tmp_path / "x.gguf"
    with read_moments(whole) as file:
        at = file.info.chunks + 3
    done = subprocess.run([sys.executable, "-c", KILLED, str(pico), str(target), str(at)], check=False)
    assert done.returncode == -signal.SIGKILL
    assert not target.exists()
    resumed: list[tuple[int, int]] = []
    counts: list[int] = []
    control = MomentControl(
        lambda *numbers: resumed.append(numbers), lambda done, _total: counts.append(done)
    )
    collect_moments(pico, PLAN, target, label="text", means=WHOLE, control=control)
    ((n_done, n_all),) = resumed
    assert 0 < n_done < n_all
    assert (
        2 <= counts[0] <= 4
    )  # the kill came before the third chunk was kept, which may have been the second
    assert target.read_bytes() == whole.read_bytes()
    assert rests(tmp_path) == []


def test_other_parameters_begin_anew(pico: Path, tmp_path: Path) -> None:
    target = tmp_path / "x.gguf"
    cancel = threading.Event()
    control = MomentControl(on_chunks=lambda *_: cancel.set(), cancel=cancel)
    with pytest.raises(Cancelled):
        collect_moments(pico, PLAN, target, label="text", control=control)
    resumed: list[object] = []
    control = MomentControl(on_resume=lambda *numbers: resumed.append(numbers))
    collect_moments(pico, TextPlan(TEXT, 96, 9), target, label="text", control=control)
    assert resumed == []
    with read_moments(target) as file:
        assert file.info.chunks == 9


def test_too_little_memory_is_told(pico: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"give --memory \d+MiB or more") as error:
        collect_moments(pico, PLAN, tmp_path / "x.gguf", label="text", means=MomentMeans(memory_bytes=1000))
    assert rests(tmp_path) == []
    least = int(error.value.message.split("--memory ")[1].split("MiB")[0]) << 20
    collect_moments(
        pico, TextPlan(TEXT, 96, 2), tmp_path / "x.gguf", label="x", means=MomentMeans(memory_bytes=least)
    )


def test_groups_keep_the_order_and_the_bound() -> None:
    units = [(InputName(name), size) for name, size in (("a", 3), ("b", 3), ("c", 5), ("d", 1), ("e", 6))]

    def groups(*arguments: object) -> list[str]:
        return ["".join(name.weight for name in group) for group in group_inputs(units, 6, *arguments)]  # type: ignore[arg-type]

    assert groups() == ["ab", "cd", "e"]
    assert groups([InputName("c")]) == ["c", "ab", "d", "e"]
    assert groups([InputName("c"), InputName("b")]) == ["ab", "cd", "e"]  # too much at a time
    assert groups([InputName("x")]) == ["ab", "cd", "e"]


def test_a_mixture_has_moments_of_each_expert(tmp_path: Path) -> None:
    path = run_plan(written(BY_NAME["qwen3-moe"], tmp_path), ["F16"], tmp_path)[0].path
    plan = TextPlan(TEXT, 64, 8)
    info = collect_moments(path, plan, tmp_path / "x.gguf", label="text")
    assert info.held_out_chunks == 1
    collect_moments(path, plan, tmp_path / "y.gguf", label="text", means=MomentMeans(memory_bytes=9_000_000))
    assert (tmp_path / "x.gguf").read_bytes() == (tmp_path / "y.gguf").read_bytes()
    expected = imatrix_by_window(path, TextPlan(TEXT, 64, 7))
    with read_moments(tmp_path / "x.gguf") as file:
        matrix = file.importance()
        for name, entry in expected.entries.items():
            assert matrix.entries[name].counts.tolist() == entry.counts.tolist()
            assert np.allclose(matrix.entries[name].sums, entry.sums, rtol=1e-5, atol=0), name
        assert file.n_matrices("blk.0.ffn_up_exps.weight") == 4
        for expert in range(4):
            moments = file.moments("blk.0.ffn_up_exps.weight", expert)
            gate = file.moments("blk.0.ffn_gate_exps.weight", expert)
            assert moments is not None
            assert gate is not None
            assert np.array_equal(moments.total, gate.total)
            assert len(moments.first) == 0


@pytest.fixture
def small(tmp_path: Path) -> Iterator[Path]:
    """A file system of 256 KiB."""
    folder = tmp_path / "small"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", str(folder)]
    if subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("file systems can't be mounted here")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


def test_a_full_disk_is_told_before_the_text_runs(small: Path, pico: Path) -> None:
    chunks: list[object] = []
    control = MomentControl(on_chunks=lambda *numbers: chunks.append(numbers))
    with pytest.raises(DiskFull, match=r"are free on the disk of .*small"):
        collect_moments(pico, PLAN, small / "x.gguf", label="text", control=control)
    assert chunks == []
