"""`corral tune` as a process."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from pathlib import Path

import psutil
import pytest

from server.cli.tuned import line, result_document
from server.tuning.busy import busy_process
from server.tuning.settings import changed
from server.tuning.tuner import Step
from tests.server.cli.conftest import Corral, corral_command
from tests.server.tuning.fake_measurer import DEFAULTS, SPACE
from tests.server.tuning.results import a_result

QUICK = (
    "--anyway",
    "--budget",
    "4",
    "--streams",
    "1",
    "--streams",
    "2",
    "--prompt-tokens",
    "8",
    "--output-tokens",
    "8",
)


def test_a_step_in_one_line() -> None:
    best = changed(DEFAULTS, n_ubatch=256)
    step = Step("search", 10.0, best, 0.1, changed(best, flash_attn="off"), 3)
    assert line(step, SPACE) == "best +10.5 % (n_ubatch 256); trying flash_attn off"


def test_a_result_in_percent() -> None:
    document = result_document(a_result())
    assert document["gain_percent"] == 10.52
    assert document["kv_quant_gain_percent"] is None
    assert document["settings"]["spin_count"] == 0


def test_wrong_usage(corral: Corral) -> None:
    for arguments in (("--contention", "2"), ("--streams", "0"), ("--budget", "x")):
        assert corral("tune", "demo", *arguments).returncode == 2


def test_nothing_kept_yet(corral: Corral, tiny_gguf: Path) -> None:
    done = corral("tune", str(tiny_gguf), "--show")
    assert done.returncode == 1
    assert "run: corral tune" in done.stderr


@pytest.mark.model
def test_dry_run(corral: Corral, tiny_gguf: Path) -> None:
    done = corral("tune", str(tiny_gguf), "--dry-run", "--allow-kv-quant", "--json")
    document = json.loads(done.stdout)
    assert document["dimensions"]["kv_type"] == ["f16", "q8_0"]
    assert document["notes"]
    text = corral("tune", str(tiny_gguf), "--dry-run").stdout
    assert "n_ubatch" in text
    assert "combinations" in text


@pytest.mark.model
def test_measured_kept_and_shown(corral: Corral, tiny_gguf: Path, home: Path) -> None:
    done = corral("tune", str(tiny_gguf), *QUICK, "--json")
    assert done.returncode == 0, done.stderr
    document = json.loads(done.stdout)
    [kept] = (home / "tuning").iterdir()
    assert json.loads(kept.read_text())["settings"] == document["settings"]
    assert document["workload"]["streams"] == [1, 2]
    assert "the defaults against themselves" in done.stderr
    shown = corral("tune", str(tiny_gguf), "--show", "--json")
    assert json.loads(shown.stdout)["settings"] == document["settings"]
    assert "settings:" in corral("tune", str(tiny_gguf), "--show").stdout


@pytest.mark.model
def test_a_busy_machine_is_refused(corral: Corral, tiny_gguf: Path, home: Path) -> None:
    with busy_process():
        done = corral("tune", str(tiny_gguf), *(flag for flag in QUICK if flag != "--anyway"))
    assert done.returncode == 1
    assert "--anyway" in done.stderr
    assert not (home / "tuning").exists()


@pytest.mark.model
def test_ctrl_c_ends_it_and_its_processes(env: dict[str, str], tiny_gguf: Path, home: Path) -> None:
    process = subprocess.Popen(
        corral_command("tune", str(tiny_gguf), "--anyway", "--budget", "600"),
        env=env,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stderr is not None
    with process, process.stderr:
        for text in process.stderr:
            if "trying" in text:
                break
        children = psutil.Process(process.pid).children(recursive=True)
        os.kill(process.pid, signal.SIGINT)
        rest = process.stderr.read()
        assert process.wait(60) == 130
    assert "Traceback" not in rest
    assert "nothing is kept" in rest or list((home / "tuning").iterdir())
    assert not psutil.wait_procs(children, 5)[1]
