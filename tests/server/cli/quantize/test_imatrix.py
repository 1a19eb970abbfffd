"""`corral imatrix`, and files that are made by its matrix."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.server.cli.conftest import Corral, document

pytestmark = pytest.mark.model


def test_a_matrix_is_computed_and_used(corral: Corral, pico: Path, text: Path, tmp_path: Path) -> None:
    matrix = tmp_path / "pico.imatrix.gguf"
    done = corral(
        "imatrix", str(pico), "--text", str(text), "--out", str(matrix), "--chunks", "2", "--threads", "1"
    )
    assert done.returncode == 0, done.stderr
    assert matrix.is_file()
    flags = ["--type", "Q4_K_M", "--type", "IQ3_XXS"]
    plain = document(corral, "quantize", str(pico), "--type", "Q4_K_M", "--out", str(tmp_path / "plain"))
    weighted = document(
        corral, "quantize", str(pico), *flags, "--imatrix", str(matrix), "--out", str(tmp_path / "weighted")
    )
    assert plain["files"][0]["sha256"] != weighted["files"][0]["sha256"]
    assert plain["files"][0]["size_bytes"] == pytest.approx(weighted["files"][0]["size_bytes"], abs=1000)
    refused = corral("quantize", str(pico), "--type", "IQ3_XXS")
    assert refused.returncode == 1
    assert "needs an importance matrix" in refused.stderr
    missing = corral("quantize", str(pico), "--imatrix", str(tmp_path / "no.gguf"))
    assert missing.returncode == 1
    assert "no.gguf" in missing.stderr
