"""lm-evaluation-harness as its users run it: a process of its own, `local-completions`, results in files.

`tasks/` holds our tasks; their documents are in the repository, so no hub is asked for anything.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.e2e.running import environment

ROOT = Path(__file__).resolve().parents[2]
TASKS = Path(__file__).with_name("tasks")
MULTIPLE_CHOICE = "corral_closed_world"
ANSWERS = "corral_closed_world_answers"
TEXT = "corral_closed_world_text"


@dataclass(frozen=True, slots=True)
class Evaluation:
    """What one run said: metrics by task and name, and by task what it sent and got for each document."""

    metrics: Mapping[str, Mapping[str, float]]
    samples: Mapping[str, Sequence[Mapping[str, Any]]]


def evaluate(
    tasks: Sequence[str], model_args: Mapping[str, object], batch_size: int, home: Path
) -> Evaluation:
    """Run `lm_eval run` to its end; below `home` lie its caches and its output.

    Raises RuntimeError with the end of what it printed if it fails.
    """
    out = home / "output"
    arguments = [f"{name}={value}" for name, value in model_args.items()]
    command = [sys.executable, "-m", "lm_eval", "run", "--model", "local-completions"]
    command += ["--model_args", *arguments, "--batch_size", str(batch_size)]
    command += ["--tasks", *tasks, "--include_path", str(TASKS), "--output_path", str(out), "--log_samples"]
    offline = {"HF_HUB_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1"}
    done = subprocess.run(
        command,
        cwd=ROOT,
        env=environment(home, offline),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=300,
        check=False,
    )
    if done.returncode != 0:
        raise RuntimeError(f"lm_eval ended with {done.returncode}:\n{done.stdout[-4000:]}")
    (results,) = out.rglob("results_*.json")
    told: dict[str, dict[str, Any]] = json.loads(results.read_text(encoding="utf-8"))["results"]
    return Evaluation(
        {task: _numbers(metrics) for task, metrics in told.items()},
        {task: _samples(out, task) for task in tasks},
    )


def _numbers(metrics: Mapping[str, Any]) -> dict[str, float]:
    """Without the filter's name, which is part of each key ("acc,none")."""
    return {name.split(",")[0]: value for name, value in metrics.items() if isinstance(value, float)}


def _samples(out: Path, task: str) -> list[Mapping[str, Any]]:
    (path,) = (one for one in out.rglob("samples_*.jsonl") if one.name.startswith(f"samples_{task}_20"))
    samples = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    return sorted(samples, key=lambda sample: int(sample["doc_id"]))


def arguments_of(sample: Mapping[str, Any]) -> list[list[Any]]:
    """The arguments of each request that a document led to: context and continuation, say."""
    return [list(arguments.values()) for arguments in sample["arguments"].values()]
