from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from bench import loading
from bench.loading import Cost, table
from tests.quantize.quantize_folder import quantize_folder

OWN = Cost(
    check_s=0.0,
    first_s=2.0,
    first_cpu_s=1.0,
    again_s=1.0,
    again_cpu_s=1.0,
    peak_mib=100.0,
    after_mib=90.0,
    file_mib=40.0,
    n_matrices=0,
    ready_s=2.0,
)


def test_ratios_are_made_round_by_round_and_held_against_their_limits() -> None:
    ours = [replace(OWN, check_s=0.05, ready_s=s, peak_mib=111.0) for s in (1.0, 2.6, 9.0)]
    shown = table([{"on": one, "off": OWN} for one in ours])
    assert "| check_s | 0.050 | 0.000 | – |  |" in shown
    assert "| ready_s | 2.600 | 2.000 | 1.30 | 1.3 held |" in shown
    assert "| first_s | 2.000 | 2.000 | 1.00 |  |" in shown
    assert "| peak_mib | 111.000 | 100.000 | 1.11 | 1.1 exceeded |" in shown
    assert "| file_mib | 40.000 | 40.000 | 1.00 |  |" in shown


@pytest.mark.model
@pytest.mark.usefixtures("kernel_library")
def test_rearranged_weights_are_in_memory_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The file's pages leave as their weights are rearranged: only what isn't stays mapped."""
    (file,) = quantize_folder("demo", ["Q4_K_M"], tmp_path)
    assert loading.main([str(file.path), "--rounds", "1", "--quiet-wait", "0"]) == 0
    shown = capsys.readouterr().out
    rows = {line.split(" | ")[0].strip("| "): line.split(" | ") for line in shown.splitlines() if "|" in line}
    ours_mib, own_mib = (float(rows["file_mib"][column]) for column in (1, 2))
    size_mib = file.path.stat().st_size / 2**20
    assert own_mib > 0.9 * size_mib
    assert ours_mib < 0.5 * size_mib
    assert float(rows["ready_peak_mib"][3]) < loading.MOST_PEAK
    assert float(rows["ready_mib"][1]) <= float(rows["ready_peak_mib"][1])
    assert float(rows["first_s"][1]) > 0 < float(rows["again_cpu_s"][2])


@pytest.mark.usefixtures("kernel_library")
def test_a_file_that_is_not_there_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    missing = tmp_path / "nothing.gguf"
    assert loading.main([str(missing), "--rounds", "1", "--quiet-wait", "0"]) == 1
    assert "nothing.gguf can't be read: No such file" in capsys.readouterr().err
