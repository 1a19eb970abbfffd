"""`corral tune` as a process."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from pathlib import Path

import psutil
import pytest

from models.paths import Paths
from models.store.fingerprint import fingerprint
from server.cli.tune.command import worth_keeping
from server.cli.tune.progress import line
from server.cli.tune.report import result_document, summary
from server.tuning.busy import busy_process
from server.tuning.result_store import ResultStore, results_here
from server.tuning.service import Search
from server.tuning.settings import with_values
from server.tuning.space import Site
from server.tuning.tuner import Outcome, Step
from server.tuning.workload import Workload
from tests.server.cli.conftest import Corral, corral_command
from tests.server.tuning.fake_measurer import DEFAULTS, SPACE
from tests.server.tuning.results import MACHINE, a_result

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
    best = with_values(DEFAULTS, n_ubatch=256)
    step = Step("search", 10.0, best, 0.1, with_values(best, flash_attn="off"), 3)
    assert line(step, SPACE) == "best +10.5 % (n_ubatch 256); trying flash_attn off"


def test_a_result_in_percent() -> None:
    document = result_document(a_result())
    assert document["gain_percent"] == 10.52
    assert document["kv_quant_gain_percent"] is None
    assert document["settings"]["spin_count"] == 0


def test_a_result_in_words() -> None:
    assert summary(a_result())[1:] == [
        "n_ubatch 256, use_extra_bufts off, spin_count 0: +10.5 % ± 2.0",
        "100.0 → 110.0 tok/s with 1 at a time",
    ]
    nothing = a_result(settings=DEFAULTS, gain=0.0)
    assert summary(nothing)[1:] == ["the defaults are best, as far as a noise of 1.0 % lets see"]
    assert summary(a_result(confirmed=False))[1].endswith("not checked against the defaults at the end")


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


def search_for(path: Path) -> Search:
    site = Site(cores=2, threads=2, openmp=True, gpu=False)
    return Search(path, "m", MACHINE, site, SPACE, Workload(), room_for_two=True)


def test_an_interrupted_search_keeps_what_is_better(
    tmp_path: Path, tiny_gguf: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    results, search = ResultStore(tmp_path, MACHINE), search_for(tiny_gguf)
    best = with_values(DEFAULTS, n_ubatch=256)
    nothing = Outcome(best=DEFAULTS, interrupted=True)
    unchecked = Outcome(best=best, gain=0.1, interrupted=True)
    assert not worth_keeping(nothing, search, results)
    assert "nothing better than the defaults was found yet, and nothing is kept" in capsys.readouterr().err
    assert worth_keeping(unchecked, search, results)

    results.save(a_result(fingerprint(tiny_gguf)))
    assert not worth_keeping(nothing, search, results)
    assert "what was kept on 2026-01-02 stays" in capsys.readouterr().err
    assert not worth_keeping(unchecked, search, results)
    assert "n_ubatch 256: +10.5 % so far; what was kept on 2026-01-02 stays" in capsys.readouterr().err
    assert worth_keeping(Outcome(best=best, gain=0.1, confirmed=True, interrupted=True), search, results)


def test_what_to_run_names_the_model_as_it_was_named(corral: Corral, tiny_gguf: Path) -> None:
    assert f"run: corral tune {tiny_gguf}" in corral("tune", str(tiny_gguf), "--show").stderr
    both = corral("tune", str(tiny_gguf), "--show", "--dry-run")
    assert (both.returncode, len(both.stderr.splitlines())) == (2, 1)


@pytest.mark.model
def test_ctrl_c_leaves_an_earlier_result(env: dict[str, str], tiny_gguf: Path) -> None:
    results = results_here(Paths.from_environment(env).tuning_dir)
    path = results.save(a_result(fingerprint(tiny_gguf), machine=results.machine))
    before = path.read_bytes()
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
            if "against themselves" in text or "trying" in text:
                break
        os.kill(process.pid, signal.SIGINT)
        rest = process.stderr.read()
        assert process.wait(60) == 130
    assert "what was kept on 2026-01-02 stays" in rest
    assert path.read_bytes() == before


@pytest.mark.model
@pytest.mark.thorough
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
