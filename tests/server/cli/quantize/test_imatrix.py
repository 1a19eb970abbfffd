"""`corral imatrix`, and files that are made by its matrix."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.quantize.families.test_byte_identity_of_families import BY_NAME, written
from tests.quantize.quantize_folder import run_plan
from tests.server.cli.conftest import Corral, document
from tests.server.cli.models.in_process import run

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


def test_experts_that_few_tokens_came_to_are_named(
    text: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Of 16 tokens, two experts each, none of four experts gets enough."""
    monkeypatch.setenv("CORRAL_HOME", str(tmp_path / "home"))
    mixture = run_plan(written(BY_NAME["qwen3-moe"], tmp_path), ["F16"], tmp_path)[0].path
    matrix = tmp_path / "m.gguf"
    flags = ["--text", str(text), "--out", str(matrix), "--chunks", "1", "--ctx", "16", "--threads", "1"]
    done = run(capsys, "imatrix", str(mixture), *flags, "--json")
    assert done.code == 0, done.err
    found = json.loads(done.out)
    assert (found["chunks"], found["chunk_size"]) == (1, 16)
    rare = found["rare_experts"]
    assert [(one["layer"], one["expert"]) for one in rare] == [(n, m) for n in range(2) for m in range(4)]
    assert sum(one["n_tokens"] for one in rare) == 2 * 2 * 16
    assert "came to 8 of the experts: blk." in done.err
    again = ["quantize", str(mixture), "--type", "Q4_K_M", "--imatrix", str(matrix), "--dry-run"]
    assert json.loads(run(capsys, *again, "--json").out)["rare_experts"] == rare
    assert "came to 8 of the experts: blk." in run(capsys, *again).err
