"""`corral quantize` on a pico checkpoint: the plan, the files, the second time, and interrupts."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
import time
from pathlib import Path

import pytest

from models.gguf.info import read_gguf_info
from models.paths import Paths
from models.store.store import ModelStore
from tests.pico import write_pico_checkpoint
from tests.quantize.vocabulary.saved_forms import Folder
from tests.server.cli.conftest import Corral, corral_command

pytestmark = pytest.mark.model


@pytest.fixture
def pico(tmp_path: Path) -> Path:
    return write_pico_checkpoint(tmp_path / "pico")


def test_dry_run_plans_and_writes_nothing(corral: Corral, pico: Path, home: Path) -> None:
    done = corral("quantize", str(pico), "--dry-run")
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert [line.split()[0] for line in lines] == ["TYPE", "Q8_0", "Q5_K_M", "Q4_K_M"]
    assert all("fits: needs" in line for line in lines[1:])
    assert "fits on the disk" in done.stderr
    document = json.loads(corral("quantize", f"{pico}:4bit", "--type", "F16", "--dry-run", "--json").stdout)
    assert [row["type"] for row in document["files"]] == ["Q4_K_M", "F16"]
    assert document["files"][1]["bits_per_weight"] > 16
    assert not list(home.rglob("*.gguf"))


def test_tokens_that_a_file_cant_have_are_named_in_the_plan(corral: Corral, pico: Path) -> None:
    Folder(pico).add(410, "[PAD]", special=True)
    Folder(pico).add(411, "!", special=False)
    done = corral("quantize", str(pico), "--dry-run")
    assert done.returncode == 0
    assert "'[PAD]' (410)" in done.stderr
    assert "'!' (0, not 411)" in done.stderr
    Folder(pico).settings(chat_template="[PAD]{{ messages }}")
    refused = corral("quantize", str(pico), "--dry-run")
    assert refused.returncode == 1
    assert "'[PAD]' has the id 410, the embedding has 410 rows, and the chat template" in refused.stderr


def test_the_plan_is_what_is_made(corral: Corral, pico: Path) -> None:
    planned = json.loads(corral("quantize", str(pico), "--dry-run", "--json").stdout)["files"]
    made = json.loads(corral("quantize", str(pico), "--json").stdout)
    for plan, file in zip(planned, made["files"], strict=True):
        assert (plan["type"], plan["size_bytes"]) == (file["type"], file["size_bytes"])
        info = read_gguf_info(Path(file["path"]))
        assert info.size_bytes == plan["size_bytes"]
        assert info.bits_per_weight == pytest.approx(plan["bits_per_weight"], abs=1e-3)
    again = corral("quantize", str(pico))
    assert again.returncode == 0
    assert "here already: Q8_0, Q5_K_M, Q4_K_M" in again.stderr
    assert again.stdout == ""
    dry = corral("quantize", str(pico), "--dry-run")
    assert "here already: Q8_0, Q5_K_M, Q4_K_M" in dry.stderr
    assert [line.split()[0] for line in dry.stdout.splitlines()] == ["TYPE", "Q8_0", "Q5_K_M", "Q4_K_M"]


def test_out_folder(corral: Corral, pico: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    done = corral("quantize", str(pico), "--type", "q8_0", "--out", str(out), "--threads", "1")
    assert done.returncode == 0, done.stderr
    assert sorted(path.name for path in out.iterdir()) == ["README.md", "pico.Q8_0.gguf"]
    card = (out / "README.md").read_text()
    assert hashlib.sha256((out / "pico.Q8_0.gguf").read_bytes()).hexdigest() in card
    refused = corral("quantize", str(pico), "--type", "q8_0", "--out", str(out))
    assert refused.returncode == 1
    assert "--force" in refused.stderr
    assert corral("quantize", str(pico), "--type", "q8_0", "--out", str(out), "--force").returncode == 0


def test_parts_memory_and_where_it_came_from(corral: Corral, pico: Path) -> None:
    flags = ["--type", "F16", "--split-size", "1MiB", "--memory", "1GiB", "--json"]
    done = corral("quantize", str(pico), *flags)
    assert done.returncode == 0, done.stderr
    document = json.loads(done.stdout)
    assert document["memory_bytes"] <= 2**30
    (file,) = document["files"]
    assert [Path(path).name[-20:] for path in file["paths"]] == [
        f"-0000{number}-of-00003.gguf" for number in (1, 2, 3)
    ]
    shown = json.loads(corral("show", str(pico), "--json").stdout)
    weights = hashlib.sha256((pico / "model.safetensors").read_bytes()).hexdigest()
    assert shown["input_sha256"] == {"model.safetensors": weights}
    assert shown["files"][0]["tensor_types"]["F16"] > 0
    assert "tensor types: F16" in corral("show", str(pico)).stdout
    card = corral("show", str(pico), "--card").stdout
    assert card.startswith("---\n")
    assert weights in card


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (["--memory", "2 apples"], "is no size"),
        (["--memory", "1MiB"], "give --memory at least"),
        (["--stream"], "--stream is for models of the Hub"),
    ],
)
def test_what_cant_be_done(corral: Corral, pico: Path, flags: list[str], said: str) -> None:
    done = corral("quantize", str(pico), "--type", "Q8_0", *flags)
    assert done.returncode != 0
    assert said in done.stderr


def test_an_unknown_type(corral: Corral, pico: Path) -> None:
    done = corral("quantize", str(pico), "--type", "Q9_9")
    assert done.returncode == 2
    assert "Q9_9" in done.stderr


def test_interrupted_publishes_nothing(env: dict[str, str], home: Path, tmp_path: Path) -> None:
    big = write_pico_checkpoint(tmp_path / "big", n_layers=24, hidden=512, heads=8)
    process = subprocess.Popen(
        corral_command("quantize", str(big)), env=env, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
    )
    deadline = time.monotonic() + 60
    while not list(home.glob("staging/*/*.gguf")):
        assert process.poll() is None, "it was over before it could be interrupted"
        assert time.monotonic() < deadline
        time.sleep(0.001)
    os.kill(process.pid, signal.SIGINT)
    _, errors = process.communicate(timeout=30)
    assert process.returncode == 130, errors
    assert b"Traceback" not in errors
    assert not list((home / "models").rglob("*.gguf"))
    assert ModelStore(Paths.from_environment(env)).list() == []
