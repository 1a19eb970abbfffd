"""Raw answers with a JSON list of calls."""

from __future__ import annotations

from tests.server.chat.tool_formats.samples.listed_calls import samples

SAMPLES = samples(" functools", "")
