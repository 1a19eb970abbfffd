from __future__ import annotations

import pytest

from bench import kernels
from bench.kernels import PlainRead, Product, Timing, table
from models.llamacpp.quantization.ggml_types import GGML_TYPES
from server.kernels.outlook import LIBRARY_VARIABLE

Q4_K = GGML_TYPES["Q4_K"]


def test_few_columns_get_their_weights_from_memory() -> None:
    few, many = Product(Q4_K, 2048, 5632, 8), Product(Q4_K, 2048, 5632, 9)
    assert few.n_copies * few.n_bytes >= kernels.FROM_MEMORY > (few.n_copies - 1) * few.n_bytes
    assert many.n_copies == 1
    assert few.n_bytes == 2048 * 5632 // 256 * 144


def test_the_table_has_speeds_and_their_ratio_to_the_better_of_ggmls() -> None:
    one, eight = Product(Q4_K, 256, 1000, 1), Product(Q4_K, 256, 1000, 8)
    lines = table([Timing(one, 1e-5, 2e-5, 4e-5, 0.9e-5), Timing(eight, 1e-5, 3e-5, None, None)]).splitlines()
    assert lines[2] == "| Q4_K | 256x1000 | 1 | 12.8 | 6.4 | 25.6 (14.4 GB/s) | 2.00 | 0.90 |"
    assert lines[3] == "| Q4_K | 256x1000 | 8 | 68.3 | – | 204.8 | 3.00 |  |"
    assert {line.count("|") for line in lines} == {9}


def test_ik_llama_cpp_has_columns_where_it_is_measured() -> None:
    eight = Product(Q4_K, 256, 1000, 8)
    lines = table([Timing(eight, 1e-5, 3e-5, None, None, 1.5e-5)]).splitlines()
    assert lines[0].endswith("| ÷ ggml's best | of a read | ik_llama.cpp | ÷ ik_llama.cpp |")
    assert lines[2].endswith("| 3.00 |  | 136.5 | 1.50 |")
    assert {line.count("|") for line in lines} == {11}


def test_a_plain_read_takes_longer_for_more() -> None:
    read = PlainRead(16 << 20)
    assert 0 < min(read.seconds(1 << 20) for _ in range(5)) < min(read.seconds(16 << 20) for _ in range(5))


@pytest.mark.usefixtures("kernel_library")
def test_every_set_and_type_of_this_machine_has_its_rows(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(kernels, "FROM_MEMORY", 1 << 20)
    monkeypatch.setattr(kernels, "LEAST_WORK", 1e5)
    assert (
        kernels.main(
            ["--types", "Q4_K", "Q6_K", "--shapes", "512x40", "--columns", "1", "3", "--rounds", "1"]
        )
        == 0
    )
    shown = capsys.readouterr().out
    assert ", one thread, GMAC/s:" in shown
    rows = [line for line in shown.splitlines() if "512x40" in line]
    assert [row.split(" | ")[:3] for row in rows[:2]] == [
        ["| Q4_K", "512x40", "1"],
        ["| Q4_K", "512x40", "3"],
    ]
    assert len(rows) % 4 == 0


@pytest.mark.usefixtures("kernel_library")
def test_what_can_not_be_multiplied_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert kernels.main(["--types", "Q4_K", "--shapes", "100x32", "--columns", "1"]) == 1
    assert "a row of 100 elements can't be Q4_K" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        kernels.main(["--shapes", "2048"])
    assert "write INPUTSxROWS" in capsys.readouterr().err


def test_without_kernels_it_says_why(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv(LIBRARY_VARIABLE, "/nothing/here.so")
    assert kernels.main([]) == 1
    assert "no kernels: libcorral_kernels.so isn't there (/nothing/here.so)" in capsys.readouterr().err
