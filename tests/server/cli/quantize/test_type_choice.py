"""The options of `corral quantize` about size: a recipe that is searched for, used again, or refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from quantize.checkpoint.checkpoint import Checkpoint
from quantize.plan.make_plan import make_plan
from server.cli.quantize import type_choice
from server.cli.quantize.type_choice import TypeOptions
from tests.pico import write_pico_checkpoint
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


def test_a_file_that_is_to_fit_has_the_room_that_smaller_keys_and_values_leave(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    free = type("Free", (), {"available_bytes": 8 << 30})
    monkeypatch.setattr(type_choice, "memory", lambda: free)
    with Checkpoint.open(write_pico_checkpoint(tmp_path / "pico")) as checkpoint:
        (base,) = make_plan(checkpoint, ["F16"]).files
    budgets = []
    for kinds in ({}, {"type_k": "q8_0", "type_v": "q8_0"}):
        budget = TypeOptions(fit=True, ctx=100_000, **kinds).budget()  # type: ignore[arg-type]
        assert budget is not None
        budgets.append(budget(base).target_bytes)
    cells = 2 * 2 * 128 * 100_096  # keys and values of two layers of two heads of 64
    assert budgets[1] - budgets[0] == pytest.approx(cells * (2 - 34 / 32), rel=0.01)
