"""A command of `corral` in this process: quicker than one of its own, for those that start no worker."""

from __future__ import annotations

import logging
from dataclasses import dataclass

import pytest

from server.cli.program import main


@dataclass(frozen=True)
class Done:
    """The end of a command."""

    code: int
    out: str
    err: str


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> Done:
    """Run one command. Its log handler, which has this test's stderr, goes with it."""
    capsys.readouterr()
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    try:
        code = main(arguments)
    finally:
        root.handlers[:] = handlers
        root.setLevel(level)
    captured = capsys.readouterr()
    return Done(code, captured.out, captured.err)
