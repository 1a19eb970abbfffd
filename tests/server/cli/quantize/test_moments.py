"""`corral moments` as its users type it."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
import time
from collections.abc import Mapping
from pathlib import Path

import pytest

from models.doctor.tiny_model import TinyModel, write_tiny_gguf
from quantize.calibration.texts import DEFAULT_LABEL, default_text
from quantize.moments.file import read_moments
from tests.quantize.families.test_byte_identity_of_families import BY_NAME, written
from tests.quantize.quantize_folder import run_plan
from tests.server.cli.conftest import SENTENCE, corral_command
from tests.server.cli.models.in_process import run

pytestmark = pytest.mark.model


@pytest.fixture(autouse=True)
def own_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CORRAL_HOME", str(tmp_path / "home"))


def test_moments_of_a_model(
    tiny_gguf: Path, text: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "x.gguf"
    flags = [
        "moments",
        str(tiny_gguf),
        "--text",
        str(text),
        "--out",
        str(out),
        "--ctx",
        "64",
        "--threads",
        "1",
    ]
    done = run(capsys, *flags, "--chunks", "9", "--json")
    assert done.code == 0, done.err
    found = json.loads(done.out)
    assert (found["chunks"], found["held_out_chunks"], found["chunk_size"]) == (9, 1, 64)
    assert (found["inputs"], found["text"], found["rare_experts"]) == (9, str(text), [])
    assert "9 inputs of 15 weights, 9 chunks of 64 tokens" in done.err
    with read_moments(out) as file:
        assert file.info.label == str(text)
        assert file.moments("blk.1.attn_v.weight") is not None
    again = run(capsys, *flags)
    assert again.code == 2
    assert "overwrite it with --force" in again.err
    nowhere = run(capsys, *flags, "--out", str(tmp_path / "none" / "x.gguf"))
    assert "none is no folder that can be written; give another --out" in nowhere.err
    small = run(capsys, *flags, "--force", "--memory", "1KiB")
    assert small.code == 2
    assert "give --memory" in small.err
    assert run(capsys, *flags, "--force", "--chunks", "2").code == 0
    with read_moments(out) as file:
        assert file.info.chunks == 2


def test_without_a_text_it_takes_the_mixed_one(
    tiny_gguf: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "x.gguf"
    flags = ["--out", str(out), "--chunks", "2", "--ctx", "32", "--threads", "1", "--json"]
    done = run(capsys, "moments", str(tiny_gguf), *flags)
    assert done.code == 0, done.err
    assert json.loads(done.out)["text"] == DEFAULT_LABEL
    with read_moments(out) as file:
        assert file.info.text_sha256 == hashlib.sha256(default_text().encode()).hexdigest()


def test_experts_that_few_tokens_came_to_are_named(
    text: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    mixture = run_plan(written(BY_NAME["qwen3-moe"], tmp_path), ["F16"], tmp_path)[0].path
    flags = ["--text", str(text), "--out", str(tmp_path / "m.gguf"), "--chunks", "1", "--ctx", "32"]
    done = run(capsys, "moments", str(mixture), *flags, "--threads", "1", "--json")
    assert done.code == 0, done.err
    rare = json.loads(done.out)["rare_experts"]
    assert sum(one["n_tokens"] for one in rare) <= 2 * 2 * 32
    assert len(rare) >= 4
    assert "fewer than 128 tokens came to" in done.err
    assert "of the experts: blk." in done.err


@pytest.mark.parametrize("number", [signal.SIGINT, pytest.param(signal.SIGTERM, marks=pytest.mark.thorough)])
def test_a_signal_keeps_what_is_summed(number: int, env: Mapping[str, str], tmp_path: Path) -> None:
    model = write_tiny_gguf(tmp_path / "tiny.gguf", TinyModel())
    text, out = tmp_path / "long.txt", tmp_path / "x.gguf"
    text.write_text(f"{SENTENCE}\n" * 50_000)
    command = corral_command("moments", str(model), "--text", str(text), "--out", str(out), "--threads", "1")
    process = subprocess.Popen(command, env=env, stderr=subprocess.PIPE, text=True)
    draft = out.with_name(".x.gguf.journal")
    deadline = time.monotonic() + 60
    while not draft.exists():
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.02)
    time.sleep(0.5)
    os.kill(process.pid, number)
    _, errors = process.communicate(timeout=30)
    assert process.returncode == 128 + number, errors
    assert f"what is summed is kept beside {out}: the same command goes on" in errors
    assert not out.exists()
    assert out.with_name(".x.gguf.sums").stat().st_size > 1_000_000
