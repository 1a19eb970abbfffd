"""Compilers whose time the load of the machine doesn't cut short, for tests of what they compile."""

from __future__ import annotations

from models.llamacpp.vocab import Vocab
from models.machine.allowance import Allowance
from server.worker.constraints.checker import Limits
from server.worker.constraints.compiler import ConstraintCompiler

PATIENCE_S = 150.0
"""A grammar of a test has this much of the clock's time; how much it may compute is limited as ever."""


def unhurried() -> Allowance:
    """Return an allowance that lasts: work that gives way would wait for whatever else the machine does."""
    return Allowance(burst_s=1e6)


def patient_compiler(vocab: Vocab, limits: Limits | None = None) -> ConstraintCompiler:
    """Return a compiler whose work gives way to nothing."""
    made = ConstraintCompiler(vocab, limits or Limits(wall_s=PATIENCE_S))
    made._allowance = made._process._allowance = unhurried()
    return made
