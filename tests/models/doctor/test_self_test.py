from __future__ import annotations

import sys

import pytest

from models.doctor import self_test
from models.doctor.check import Status
from models.doctor.self_test import Outcome, judge, run
from models.machine.child_process import ChildFailed, ChildTimedOut

PASSED = Outcome({"Q8_0": 0.9999, "Q4_K_M": 0.97})
SEGFAULT = Outcome(failure=ChildFailed("died of SIGSEGV", -11))


def python(code: str) -> list[str]:
    return [sys.executable, "-c", code]


@pytest.mark.model
@pytest.mark.parametrize("use_extra_bufts", [True, False])
def test_this_build_passes(use_extra_bufts: bool) -> None:
    outcome = run(use_extra_bufts=use_extra_bufts)
    assert outcome.passed, outcome.text
    assert set(outcome.agreement) == {"Q8_0", "Q4_K_M"}


@pytest.mark.parametrize(
    ("code", "text"),
    [
        ("import os; os.kill(os.getpid(), 11)", "died of SIGSEGV"),
        ("import sys; sys.exit('no such thing')", "failed with status 1: no such thing"),
        ('print(\'{"Q8_0": 0.1, "Q4_K_M": 0.97}\')', "computed Q8_0 0.100, Q4_K_M 0.970"),
        ("print('nothing of the kind')", "answered nonsense: 'nothing"),
        ("import time; time.sleep(60)", "took longer"),
    ],
)
def test_a_child_that_fails(code: str, text: str) -> None:
    outcome = run(command=python(code), timeout_s=1 if "sleep" in code else 30)
    assert not outcome.passed
    assert outcome.text.startswith(text)


def test_a_pass() -> None:
    assert judge(PASSED, None, cpu_has_amx=True).status is Status.OK


def test_a_crash_that_extra_buffer_types_cause() -> None:
    found = judge(SEGFAULT, PASSED, cpu_has_amx=True)
    assert found.status is Status.FAIL
    assert "died of SIGSEGV in a batched decode; with use_extra_bufts off it works" in found.fact
    assert found.fix is not None
    assert "CORRAL_USE_EXTRA_BUFTS=false" in found.fix
    assert "AMX trap" in found.fix
    elsewhere = judge(SEGFAULT, PASSED, cpu_has_amx=False)
    assert "AMX" not in (elsewhere.fix or "")


@pytest.mark.parametrize(
    ("outcome", "status", "words"),
    [
        (SEGFAULT, Status.FAIL, "died of SIGSEGV"),
        (Outcome(failure=ChildFailed("died of SIGILL", -4)), Status.FAIL, "compiled for another CPU"),
        (Outcome(failure=ChildTimedOut("took longer than 1 s")), Status.WARNING, "took longer"),
        (Outcome({"Q8_0": 0.2, "Q4_K_M": 0.9}), Status.FAIL, "computes wrongly: computed Q8_0 0.200"),
        (
            Outcome(failure=ChildFailed("failed with status 1: no memory", 1)),
            Status.FAIL,
            "failed with status 1: no memory",
        ),
    ],
)
def test_other_failures(outcome: Outcome, status: Status, words: str) -> None:
    found = judge(outcome, outcome, cpu_has_amx=False)
    assert found.status is status
    assert words in found.fact
    assert found.fix


def test_the_second_run_is_made_without_extra_buffer_types(monkeypatch: pytest.MonkeyPatch) -> None:
    runs: list[bool] = []

    def fake_run(*, use_extra_bufts: bool = True) -> Outcome:
        runs.append(use_extra_bufts)
        return SEGFAULT if use_extra_bufts else PASSED

    monkeypatch.setattr(self_test, "run", fake_run)
    assert "works" in self_test.check(cpu_has_amx=True).fact
    assert runs == [True, False]
