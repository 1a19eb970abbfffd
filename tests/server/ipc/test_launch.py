from __future__ import annotations

import sys

from models.machine.hardware import available_cores
from server.ipc.launch import SPIN_COUNT, worker_command, worker_environment
from server.ipc.model_spec import ModelSpec
from server.serve_options import ServeOptions

SPEC = ModelSpec(name="m", path="/m.gguf")


def test_threads_spin_a_little_before_they_sleep() -> None:
    environment = worker_environment(SPEC, {"PATH": "/bin"})
    assert environment["GOMP_SPINCOUNT"] == str(SPIN_COUNT)
    assert environment["PATH"] == "/bin"


def test_what_the_user_set_wins() -> None:
    assert worker_environment(SPEC, {"GOMP_SPINCOUNT": "7"})["GOMP_SPINCOUNT"] == "7"
    assert "GOMP_SPINCOUNT" not in worker_environment(SPEC, {"OMP_WAIT_POLICY": "active"})


def test_a_measured_spin() -> None:
    assert worker_environment(SPEC, {}, 9)["GOMP_SPINCOUNT"] == "9"
    assert worker_environment(SPEC, {"GOMP_SPINCOUNT": "7"}, 9)["GOMP_SPINCOUNT"] == "7"


def test_more_threads_than_cores_do_not_spin() -> None:
    crowded = ModelSpec(name="m", path="/m.gguf", options=ServeOptions(threads=available_cores() + 1))
    assert worker_environment(crowded, {})["GOMP_SPINCOUNT"] == "0"
    assert worker_environment(crowded, {}, 9)["GOMP_SPINCOUNT"] == "0"


def test_the_command_runs_this_interpreter() -> None:
    assert worker_command(7) == [sys.executable, "-P", "-m", "server.worker", "--fd", "7"]
