"""A target for every client, with more than one model."""

from __future__ import annotations

from server.clients.client import ServedModel, Target

MODELS = (ServedModel("org/name", 65_536), ServedModel("other", 8192), ServedModel("untold", None))


def a_target(*, needs_key: bool = False, context: int = 65_536) -> Target:
    return Target("http://127.0.0.1:8000", "org/name", context, MODELS, needs_key=needs_key)
