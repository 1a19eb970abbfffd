"""The held-out check as the command tells of it, and its flag."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from models.errors import ConfigError
from models.gguf.info import read_gguf_info
from models.paths import Paths
from quantize.calibration.verdict import KindLoss, TextLoss, Verdict
from server.cli.quantize.held_out import CheckFlags, lines_of
from tests.hub_server import HubServer
from tests.pico import write_pico_checkpoint
from tests.quantize.calibration.pico_moments import FOREIGN, TEXT
from tests.server.cli.conftest import Corral, document
from tests.server.cli.models.in_process import run

VALUE = KindLoss("attn_v.weight", ("blk.0.attn_v.weight",), (TextLoss("prose", 16, 0.002, 0.004, 0.0001),))
VERDICT = Verdict(
    "Q4_K_M",
    (VALUE,),
    (TextLoss("prose", 16, 0.02, 0.012, 0.001),),
    (TextLoss("prose", 16, 0.02, 0.01, 0.001),),
)


def test_the_loss_is_told_and_what_fell_back() -> None:
    first, second, third = lines_of([VERDICT.document(), Verdict("Q8_0", unmeasured="no file").document()])
    assert first == (
        "Q4_K_M on held-out text (prose, 16 windows): KL divergence 0.01000 nats, without calibration "
        "0.02000 (-50 %)"
    )
    assert second.startswith("Q4_K_M: attn_v.weight is rounded plainly: on prose it lost 0.00400 nats")
    assert third == "Q8_0: the loss on held-out text wasn't measured: no file"


def test_texts_of_the_users_own_replace_the_one_at_hand(tmp_path: Path) -> None:
    (own := tmp_path / "own.txt").write_text("some text\n")
    check = CheckFlags([own, own]).check(is_calibrated=True)
    assert check is not None
    assert [(text.label, text.text) for text in check.texts] == [("own.txt", "some text")] * 2
    check = CheckFlags().check(is_calibrated=True)
    assert check is not None
    (text,) = check.texts
    assert len(text.text) > 10_000
    assert CheckFlags().check(is_calibrated=False) is None
    with pytest.raises(ConfigError, match="give --calibrate"):
        CheckFlags([own]).check(is_calibrated=False)
    with pytest.raises(ConfigError, match=r"missing\.txt can't be read"):
        CheckFlags([tmp_path / "missing.txt"]).check(is_calibrated=True)


@pytest.fixture
def pico(home: Path, tmp_path: Path) -> Path:
    """A small checkpoint, and a home that has the compiled kernels already."""
    compiled = Paths.from_environment().compiled_dir
    compiled.mkdir(parents=True, exist_ok=True)
    home.mkdir(exist_ok=True)
    Paths(home=home, hf_cache=home).compiled_dir.symlink_to(compiled)
    return write_pico_checkpoint(tmp_path / "pico", n_layers=1)


@pytest.fixture
def flags(tmp_path: Path) -> list[str]:
    (text := tmp_path / "mine.txt").write_text(TEXT[:3600])
    (tmp_path / "mine.txt.short").write_text("short")
    (held_out := tmp_path / "other.txt").write_text(FOREIGN)
    return ["--held-out", str(held_out), "--threads", "1", "--calibrate", str(text)]


@pytest.mark.model
def test_a_calibrated_file_beside_a_plain_one(
    corral: Corral, pico: Path, flags: list[str], home: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    four = ["quantize", str(pico), "--type", "Q4_0"]
    plan = document(corral, *four, *flags, "--dry-run")
    assert plan["collects_moments"]
    assert min(plan[f"{step}_seconds"] for step in ("collecting", "rounding", "check")) > 0
    assert plan["memory_bytes"] >= plan["check_bytes"] > 0
    for more in (["--held-out", flags[-1] + ".short"], ["--calibrate", flags[-1] + ".short"]):
        ahead = corral(*four, *flags, *more, "--dry-run")
        assert ahead.returncode != 0
        assert "give a longer text" in ahead.stderr
    assert not list(home.rglob("*.gguf")), "nothing was made for it"
    document(corral, *four)
    refused = corral(*four, *flags)
    assert "--force replaces it" in refused.stderr
    too_short = corral(*four, *flags, "--held-out", flags[-1] + ".short", "--out", str(out))
    assert "give a longer text with --held-out" in too_short.stderr
    unusable = corral(*four, *flags[:-1], flags[-1] + ".short", "--out", str(out))
    assert "mine.txt.short is too short to calibrate on" in unusable.stderr
    assert not list(tmp_path.rglob("*.moments.gguf")), "refused before anything was collected"
    assert not out.exists()
    made = document(corral, *four, *flags, "--out", str(out))
    again = corral(*four, *flags[:-1], str(out / "pico.moments.gguf"))
    assert "--force replaces it" in again.stderr
    (verdict,) = made["held_out"]
    assert verdict["measured"]
    assert [one["text"] for one in verdict["texts"]] == ["other.txt"]
    assert "calibrated on " in (out / "README.md").read_text()
    plain = ["evaluate", f"{pico}:Q4_0", made["files"][0]["path"], "--baseline", f"{pico}:F16"]
    short = ["--text", str(tmp_path / "other.txt"), "--ctx", "64", "--chunks", "4", "--no-speed"]
    report = document(corral, *plain, *short)
    assert [file["rounding"] for file in report["files"]] == [None, "plain", "calibrated"]
    assert "is calibrated and loses" in report["advice"]


@pytest.mark.model
@pytest.mark.parametrize("more", [[], ["--dry-run"]])
def test_a_size_that_cannot_be_reached_is_refused_before_anything_is_made(
    more: list[str], corral: Corral, pico: Path, flags: list[str], home: Path, tmp_path: Path
) -> None:
    refused = corral("quantize", str(pico), "--target-size", "10KiB", "--out", str(tmp_path), *flags, *more)
    assert refused.returncode != 0
    assert re.search(r"smallest file .* has [\d,]+ bytes .* at most 10,240; ask for more", refused.stderr)
    assert not [*home.rglob("*.gguf"), *tmp_path.glob("*.gguf")]


@pytest.mark.model
@pytest.mark.parametrize(
    "more",
    [
        ["--type", "Q4_0"],
        pytest.param(["--type", "Q4_0", "--dry-run"], marks=pytest.mark.thorough),
        pytest.param(["--target-bpw", "7", "--probes", "1"], marks=pytest.mark.thorough),
    ],
)
def test_no_weights_are_kept_for_a_text_behind_the_users_back(
    more: list[str],
    pico: Path,
    flags: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("CORRAL_HOME", str(tmp_path / "home"))
    made: list[tuple[str, ...]] = []
    monkeypatch.setattr("server.cli.ensure_model._run_corral", lambda *command: made.append(command))
    with HubServer() as hub:
        for key, value in hub.environment(tmp_path).items():
            monkeypatch.setenv(key, value)
        hub.add("someone/pico", pico)
        command = ("quantize", "someone/pico", "--stream", "--out", str(tmp_path), *flags, *more)
        done = run(capsys, *command)
        streamed = run(capsys, "quantize", "someone/pico", "--stream", "--type", "F16")
        again = run(capsys, *command)
    assert done.code != 0
    assert (streamed.code, again.code) == (0, 0), again.err
    assert list(tmp_path.rglob("*.safetensors")) == [pico / "model.safetensors"], "the Hub's"
    assert not made
    said = " ".join(done.err.split())
    assert re.search(r"16-bit file, which isn't here and takes [\d.]+ [KM]iB of the disk", said)
    assert "corral quantize someone/pico --type F16 --stream" in said


@pytest.mark.model
@pytest.mark.thorough
def test_types_are_chosen_by_calibrated_trials(
    corral: Corral, pico: Path, flags: list[str], tmp_path: Path
) -> None:
    size = ["--target-bpw", "7", "--probes", "1", "--out", str(tmp_path)]
    (file,) = document(corral, "quantize", str(pico), *size, *flags)["files"]
    assert file["bits_per_weight"] <= 7
    (recipe,) = tmp_path.glob("*.recipe.json")
    figures = json.loads(recipe.read_text())["figures"]
    assert (figures["text"], figures["calibration"]["method"]) == ("corral-mix-1", "gptq")
    assert read_gguf_info(Path(file["path"])).text("corral.calibration.method") == "gptq"
