"""Measurements made up for tests."""

from __future__ import annotations

from bench.rounds import Measurement


def measured(server: str, number: int, foreign_cpu: float = 0.0, **figures: float) -> Measurement:
    return Measurement("streams-8", number, server, dict(figures), foreign_cpu, 1.0)
