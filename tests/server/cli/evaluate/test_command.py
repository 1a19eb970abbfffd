"""`corral evaluate`, and `corral quantize --report`: files are compared, and figures kept with them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.server.cli.conftest import Corral, document

pytestmark = pytest.mark.model


def test_files_are_compared(corral: Corral, pico: Path, text: Path, tmp_path: Path) -> None:
    flags = ["--text", str(text), "--ctx", "64", "--chunks", "4", "--no-speed", "--threads", "1"]
    files = [f"{pico}:Q8_0", f"{pico}:Q4_0"]
    out = tmp_path / "figures.json"
    report = document(corral, "evaluate", *files, *flags, "--out", str(out))
    by_type = {file["type"]: file for file in report["files"]}
    losses = [by_type[type_]["divergence"]["mean"]["value"] for type_ in ("Q8_0", "Q4_0")]
    assert losses[0] < losses[1]
    assert report == json.loads(out.read_text())
    assert out.with_suffix(".svg").read_text().startswith("<svg")
    table = corral("evaluate", *files, *flags, "--out", str(out))
    assert "KLD" in table.stdout
    assert "Use " in table.stderr


def test_a_report_is_kept_with_the_files(corral: Corral, pico: Path, text: Path, tmp_path: Path) -> None:
    flags = ["--type", "Q4_K_M", "--report", "--text", str(text), "--threads", "1"]
    made = document(corral, "quantize", str(pico), *flags)
    measured = {Path(file["path"]).name: file for file in made["report"]["files"]}
    lost = measured["pico.Q4_K_M.gguf"]["divergence"]["mean"]["value"]
    assert lost > 0
    assert "Use " in made["report"]["advice"]
    shown = document(corral, "show", f"{pico}:Q4_K_M")["files"][0]
    assert shown["quality"]["kl_divergence"] == lost
    assert shown["quality"]["text"] == "text.txt"
    assert "kl_divergence" in corral("show", str(pico)).stdout
    document(corral, "quantize", str(pico), "--type", "Q5_0")  # sweeps what no manifest mentions
    beside = Path(shown["paths"][0]).parent
    assert {path.suffix for path in beside.iterdir()} == {".gguf", ".json", ".svg"}
    out = tmp_path / "out"
    document(corral, "quantize", str(pico), *flags, "--out", str(out))
    assert "kl divergence" in (out / "README.md").read_text()
    assert f"{lost:.4g}" in (out / "README.md").read_text()


def test_the_loss_of_the_kv_cache_is_told(corral: Corral, pico: Path, text: Path, tmp_path: Path) -> None:
    flags = ["--text", str(text), "--ctx", "64", "--chunks", "4", "--no-speed", "--threads", "1"]
    kept = ["--type-k", "q4_0", "--type-v", "q8_0"]
    out = tmp_path / "figures.json"
    files = [f"{pico}:F16", f"{pico}:Q8_0"]
    report = document(corral, "evaluate", *files, *flags, *kept, "--out", str(out))
    base, cache_alone, both = report["files"]
    assert base["is_baseline"]
    assert (base["type_k"], base["type_v"]) == ("f16", "f16")
    assert [file["label"].endswith("KV q4_0/q8_0") for file in report["files"]] == [False, True, True]
    assert cache_alone["path"] == base["path"]
    assert 0 < cache_alone["divergence"]["mean"]["value"] < both["divergence"]["mean"]["value"]
    assert cache_alone["memory_bytes"] < base["memory_bytes"]
    plain = document(corral, "evaluate", *files, *flags, "--out", str(out))
    assert plain["files"][1]["divergence"]["mean"]["value"] < both["divergence"]["mean"]["value"]
    shown = document(corral, "show", f"{pico}:Q8_0")["files"][0]
    assert shown["quality"]["kl_divergence"] == plain["files"][1]["divergence"]["mean"]["value"]
    document(corral, "evaluate", *files, *flags, *kept, "--out", str(out))
    again = document(corral, "show", f"{pico}:Q8_0")["files"][0]
    assert again["quality"] == shown["quality"]  # those of the file alone
