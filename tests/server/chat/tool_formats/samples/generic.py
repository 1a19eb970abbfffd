"""The generic format's raw answers: Hermes'."""

from __future__ import annotations

from tests.server.chat.tool_formats.samples.hermes import SAMPLES

__all__ = ["SAMPLES"]
