"""The options of `corral quantize` about size: a recipe that is searched for, used again, or refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.server.cli.conftest import Corral, document

pytestmark = pytest.mark.model


def test_a_chosen_size_and_its_recipe(corral: Corral, pico: Path, text: Path, tmp_path: Path) -> None:
    four = document(corral, "quantize", str(pico), "--type", "Q4_K_M", "--dry-run")["files"][0]
    target = four["size_bytes"] + 20_000
    out = tmp_path / "chosen"
    flags = ["--text", str(text), "--probes", "6", "--threads", "1", "--out", str(out)]
    made = document(corral, "quantize", str(pico), "--target-size", f"{target}B", *flags)
    (file,) = made["files"]
    assert four["size_bytes"] * 0.97 < file["size_bytes"] <= target
    (recipe,) = out.glob("*.recipe.json")
    (matrix,) = out.glob("*.imatrix.gguf")
    again = ["--recipe", str(recipe), "--imatrix", str(matrix), "--out", str(tmp_path / "again")]
    assert document(corral, "quantize", str(pico), *again)["files"][0]["sha256"] == file["sha256"]


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
    done = corral("quantize", str(pico), "--threads", "1", *(flag.format(text=text) for flag in flags))
    assert done.returncode in (1, 2)
    assert said in done.stderr
    assert "Traceback" not in done.stderr
