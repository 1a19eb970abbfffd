from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from models.errors import LlamaCppError, WorkerDied
from server.serve_options import ServeOptions
from server.tuning.busy import busy_process
from server.tuning.messages import Job, MeasureRequest
from server.tuning.session import MeasuringProcess, measuring_environment
from tests.child_processes import ChildProcesses

JOB = Job(path="/m.gguf", options=ServeOptions(ctx=256, parallel=2))
ASK = MeasureRequest(streams=1, prompt_tokens=8, steps=4, limit_s=10.0)
READY = '{"type":"ready","load_s":1.0,"n_gpu_layers":0,"devices":[]}'
FIGURES = '{"type":"figures","prefill_s":1.0,"prefill_tokens":8,"step_s":0.5,"steps":4}'


@contextmanager
def child(code: str, **options: float) -> Iterator[MeasuringProcess]:
    """A process that runs `code` after it has read its job and said it is ready."""
    text = f"import sys, time, os; sys.stdin.readline(); print({READY!r}, flush=True); {code}"
    session = MeasuringProcess(JOB, command=[sys.executable, "-S", "-c", text], **options)  # type: ignore[arg-type]
    try:
        yield session
    finally:
        session.close()
        session.close()


def test_an_answer() -> None:
    with child(f"sys.stdin.readline(); print({FIGURES!r}, flush=True); time.sleep(60)") as session:
        assert session.ready.load_s == 1.0
        assert session.measure(ASK).step_s == 0.5


@pytest.mark.parametrize(
    ("code", "words"),
    [
        ("os.kill(os.getpid(), 11)", "SIGSEGV"),
        ("sys.exit('the reason')", "the reason"),
        ("print('nonsense', flush=True); time.sleep(60)", "nonsense"),
        ("time.sleep(60)", "no answer within"),
    ],
)
def test_a_broken_process(code: str, words: str) -> None:
    with child(code, answer_timeout_s=1.0) as session, pytest.raises(WorkerDied, match=words):
        session.measure(ASK)


def test_a_refusal() -> None:
    refusal = '{"type":"refused","message":"no room"}'
    code = f"print({refusal!r}, flush=True); time.sleep(60)"
    with child(code) as session, pytest.raises(LlamaCppError, match="no room"):
        session.measure(ASK)


def test_a_process_that_does_not_start_leaves_nothing() -> None:
    children = ChildProcesses()
    with pytest.raises(WorkerDied, match="status 3"):
        MeasuringProcess(JOB, command=[sys.executable, "-S", "-c", "raise SystemExit(3)"])
    assert not children.alive


def test_the_job_decides_how_threads_wait_not_the_user() -> None:
    env = {"GOMP_SPINCOUNT": "5", "OMP_WAIT_POLICY": "active", "PATH": "/bin"}
    quick = Job(path="/m", options=ServeOptions(threads=1, threads_batch=1), spin_count=7)
    found = measuring_environment(quick, env)
    assert found["GOMP_SPINCOUNT"] == "7"
    assert "OMP_WAIT_POLICY" not in found
    assert found["PATH"] == "/bin"


def test_the_busy_process_ends_with_its_block() -> None:
    children = ChildProcesses()
    with busy_process():
        [process] = children.alive
        assert Path(process.exe()).exists()
    assert not children.alive
