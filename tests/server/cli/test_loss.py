"""`corral imatrix`, `corral evaluate`, and what `corral quantize` chooses types by and tells of the loss."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.pico import write_pico_checkpoint
from tests.server.cli.conftest import Corral

pytestmark = pytest.mark.model

SENTENCE = "the cat sat on a mat and told the other cats of all that it had seen from there"


@pytest.fixture
def pico(tmp_path: Path) -> Path:
    return write_pico_checkpoint(tmp_path / "pico")


@pytest.fixture
def text(tmp_path: Path) -> Path:
    """Not quite the same from line to line."""
    path = tmp_path / "text.txt"
    words = SENTENCE.split()
    path.write_text("\n".join(" ".join(words[line % 7 :: 1 + line % 3]) for line in range(400)))
    return path


def told(corral: Corral, *arguments: str) -> dict[str, Any]:
    done = corral(*arguments, "--json")
    assert done.returncode == 0, done.stderr
    document: dict[str, Any] = json.loads(done.stdout)
    return document


def test_a_matrix_is_computed_and_used(corral: Corral, pico: Path, text: Path, tmp_path: Path) -> None:
    matrix = tmp_path / "pico.imatrix.gguf"
    done = corral("imatrix", str(pico), "--text", str(text), "--out", str(matrix), "--chunks", "2")
    assert done.returncode == 0, done.stderr
    assert matrix.is_file()
    flags = ["--type", "Q4_K_M", "--type", "IQ2_XS"]
    plain = told(corral, "quantize", str(pico), "--type", "Q4_K_M", "--out", str(tmp_path / "plain"))
    weighted = told(
        corral, "quantize", str(pico), *flags, "--imatrix", str(matrix), "--out", str(tmp_path / "weighted")
    )
    assert plain["files"][0]["sha256"] != weighted["files"][0]["sha256"]
    assert plain["files"][0]["size_bytes"] == pytest.approx(weighted["files"][0]["size_bytes"], abs=1000)
    refused = corral("quantize", str(pico), "--type", "IQ2_XS")
    assert refused.returncode == 1
    assert "needs an importance matrix" in refused.stderr
    missing = corral("quantize", str(pico), "--imatrix", str(tmp_path / "no.gguf"))
    assert missing.returncode == 1
    assert "no.gguf" in missing.stderr


def test_a_chosen_size_and_its_recipe(corral: Corral, pico: Path, text: Path, tmp_path: Path) -> None:
    four = told(corral, "quantize", str(pico), "--type", "Q4_K_M", "--dry-run")["files"][0]
    target = four["size_bytes"] + 20_000
    out = tmp_path / "chosen"
    flags = ["--text", str(text), "--probes", "6", "--out", str(out)]
    made = told(corral, "quantize", str(pico), "--target-size", f"{target}B", *flags)
    (file,) = made["files"]
    assert four["size_bytes"] * 0.97 < file["size_bytes"] <= target
    (recipe,) = out.glob("*.recipe.json")
    (matrix,) = out.glob("*.imatrix.gguf")
    again = ["--recipe", str(recipe), "--imatrix", str(matrix), "--out", str(tmp_path / "again")]
    assert told(corral, "quantize", str(pico), *again)["files"][0]["sha256"] == file["sha256"]


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (["--target-size", "1MiB", "--target-bpw", "5"], "give one of --target-size"),
        (["--target-size", "1MiB"], "--text FILE"),
        (["--target-size", "10KiB", "--text", "{text}"], "smallest"),
        (["--target-size", "a lot", "--text", "{text}"], "a lot"),
        (["--report", "--text", "/none/such"], "can't be read"),
        (["--recipe", "/none/such.json"], "none/such.json"),
    ],
)
def test_what_cannot_be_chosen(corral: Corral, pico: Path, text: Path, flags: list[str], said: str) -> None:
    done = corral("quantize", str(pico), *(flag.format(text=text) for flag in flags))
    assert done.returncode in (1, 2)
    assert said in done.stderr
    assert "Traceback" not in done.stderr


def test_a_report_is_kept_with_the_files(corral: Corral, pico: Path, text: Path, tmp_path: Path) -> None:
    flags = ["--type", "Q4_K_M", "--report", "--text", str(text)]
    made = told(corral, "quantize", str(pico), *flags)
    measured = {Path(file["path"]).name: file for file in made["report"]["files"]}
    lost = measured["pico.Q4_K_M.gguf"]["divergence"]["mean"]["value"]
    assert lost > 0
    assert "Use " in made["report"]["advice"]
    shown = told(corral, "show", f"{pico}:Q4_K_M")["files"][0]
    assert shown["quality"]["kl_divergence"] == lost
    assert shown["quality"]["text"] == "text.txt"
    assert "kl_divergence" in corral("show", str(pico)).stdout
    told(corral, "quantize", str(pico), "--type", "Q5_0")  # sweeps what no manifest mentions
    beside = Path(shown["paths"][0]).parent
    assert {path.suffix for path in beside.iterdir()} == {".gguf", ".json", ".svg"}
    out = tmp_path / "out"
    told(corral, "quantize", str(pico), *flags, "--out", str(out))
    assert "kl divergence" in (out / "README.md").read_text()
    assert f"{lost:.4g}" in (out / "README.md").read_text()


def test_files_are_compared(corral: Corral, pico: Path, text: Path, tmp_path: Path) -> None:
    flags = ["--text", str(text), "--ctx", "64", "--chunks", "4", "--no-speed"]
    files = [f"{pico}:Q8_0", f"{pico}:Q4_0"]
    out = tmp_path / "figures.json"
    report = told(corral, "evaluate", *files, *flags, "--out", str(out))
    by_type = {file["type"]: file for file in report["files"]}
    losses = [by_type[type_]["divergence"]["mean"]["value"] for type_ in ("Q8_0", "Q4_0")]
    assert losses[0] < losses[1]
    assert report == json.loads(out.read_text())
    assert out.with_suffix(".svg").read_text().startswith("<svg")
    table = corral("evaluate", *files, *flags, "--out", str(out))
    assert "KLD" in table.stdout
    assert "Use " in table.stderr
