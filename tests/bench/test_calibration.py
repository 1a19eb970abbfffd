"""Tests of the comparison of calibrated files with plain ones, and of the foreign texts' parts."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from bench.address_texts import parts
from bench.calibration import Pair, Results, Row, corral, main, table
from bench.foreign_texts import code_parts, untagged
from models.demo import DEMO_DIR
from tests.quantize.quantize_folder import quantize_folder

TEXTS = DEMO_DIR / "texts"


def pair(folder: Path, plain_bytes: int, calibrated_bytes: int) -> Pair:
    plain, calibrated = folder / "a.gguf", folder / "b.gguf"
    plain.write_bytes(b"x" * plain_bytes)
    calibrated.write_bytes(b"x" * calibrated_bytes)
    return Pair("Q4_K_M", plain, calibrated)


def test_files_of_other_sizes_are_not_compared(tmp_path: Path) -> None:
    pair(tmp_path, 10_000, 10_010).check()
    with pytest.raises(ValueError, match="Q4_K_M: 10,000 bytes plain and 10,011 calibrated"):
        pair(tmp_path, 10_000, 10_011).check()


def test_the_table_has_both_roundings_in_a_line() -> None:
    plain = Row("news", "Q4_K_M", "plain", 2_000_000, 0.08, 0.001, 0.4, 0.84, 12.5, 12.0)
    made = Row("news", "Q4_K_M", "calibrated", 2_000_100, 0.05, 0.001, 0.3, 0.86, 12.25, 12.0)
    assert table([plain, made]).splitlines()[2] == (
        "| news | Q4_K_M | 2.0 | 0.08000 | 0.05000 | 0.62 | 0.400 → 0.300 | 84.0 → 86.0 "
        "| 12.500 → 12.250 (12.000) |"
    )


def test_tagged_words_become_sentences() -> None:
    tagged = "``/`` I/ppss see/vb ''/'' ,/, he/pps said/vbd ;;/. (/( once/rb )/) ./."
    assert untagged(tagged) == '"I see", he said; (once).'


def test_code_comes_without_notices_and_short_files() -> None:
    files = {"a.py": b"x = 1\n", "b.ts": b"/* notice */\n" + b"let x = 1;\n" * 400, "c.ts": b"// only\n"}
    assert list(code_parts(files, r".*\.ts")) == ["let x = 1;\n" * 318 + "le"]


def test_parts_of_an_address_are_whole_sentences() -> None:
    address = "One is here.  \n" * 300 + "Its rest"
    assert parts(address) == [" ".join(["One is here."] * 193)]
    assert parts("Too short.") == []


@pytest.mark.thorough
@pytest.mark.timeout(900)
def test_files_are_made_and_measured_to_the_end(tmp_path: Path) -> None:
    model = quantize_folder("demo", ["F16"], tmp_path)[0].path
    moments, results = tmp_path / "moments.gguf", tmp_path / "results.json"
    corral("moments", str(model), "--text", str(TEXTS / "calibration.txt"), "--chunks=16", f"--out={moments}")
    asked = ["--types", "Q4_K_M", "--target-size", "3.8MB", "--windows", "4"]
    asked += ["--text", f"own={TEXTS / 'held_out.txt'}", "--work", str(tmp_path), "--json", str(results)]
    assert main([str(model), str(moments), *asked]) == 0
    rows = msgspec.json.decode(results.read_bytes(), type=Results).rows
    assert [(row.type, row.rounding) for row in rows] == [
        (type_, rounding) for type_ in ("Q4_K_M", "chosen") for rounding in ("plain", "calibrated")
    ]
    assert all(after.kl < 0.7 * before.kl for before, after in zip(rows[::2], rows[1::2], strict=True))
