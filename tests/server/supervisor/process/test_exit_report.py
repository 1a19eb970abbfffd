from __future__ import annotations

import pytest

from server.supervisor.process.exit_report import ExitReport, reason_line

TRACEBACK = (
    "Traceback (most recent call last):",
    '  File "x.py", line 1, in <module>',
    "    raise ValueError(1)",
    "ValueError: 1",
)


@pytest.mark.parametrize(
    ("report", "how"),
    [
        (ExitReport(-9), "SIGKILL"),
        (
            ExitReport(-6, ("a.c:1: GGML_ASSERT(x) failed", "frame 1")),
            "SIGABRT: a.c:1: GGML_ASSERT(x) failed",
        ),
        (ExitReport(1, TRACEBACK), "exit status 1: ValueError: 1"),
        (
            ExitReport(
                -6, ("llama.cpp aborted: /build/ggml/src/ggml.c:7: no hay", "Fatal Python error: Aborted")
            ),
            "SIGABRT: llama.cpp aborted: ggml.c:7: no hay",
        ),
        (ExitReport(3, ("nothing of interest",)), "exit status 3"),
        (ExitReport(-9, ("GGML_ASSERT(x)",), "it was silent"), "SIGKILL: it was silent"),
        (ExitReport(-64 - 1), "signal 65"),
    ],
)
def test_how(report: ExitReport, how: str) -> None:
    assert report.how == how


def test_another_machine_is_to_blame() -> None:
    reason = (
        "llama.cpp aborted: /b/ggml-rpc.cpp:354: Remote RPC server crashed or returned malformed response"
    )
    assert ExitReport(-6, (reason,)).is_remote
    assert not ExitReport(-6, ("llama.cpp aborted: ggml.c:1: GGML_ASSERT(x) failed",)).is_remote
    assert not ExitReport(-9, (reason,), verdict="it hung").is_remote
    servers = ("127.0.0.1:1", "127.0.0.1:2")
    hung = ExitReport(-9, (), verdict="it hung", servers=servers)
    assert hung.is_remote
    assert hung.how == "SIGKILL: it hung; layers are computed at 127.0.0.1:1, 127.0.0.1:2"
    assert not ExitReport(-9, (), servers=servers).is_remote
    assert ExitReport(-11, (), servers=servers).how == "SIGSEGV"


def test_hints() -> None:
    assert "memory" in (ExitReport(-9).hint or "")
    assert "doctor" in (ExitReport(-11).hint or "")
    assert ExitReport(0).hint is None
    assert ExitReport(-9, verdict="we killed it").hint is None


def test_long_lines_are_cut() -> None:
    line = reason_line(["GGML_ASSERT(" + "x" * 1000])
    assert line is not None
    assert len(line) == 300
