"""`with_defaults`: a request's sampling parameters, with defaults for what it leaves open. Pure."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from server.engine.sampling_params import SamplingParams
from server.ipc.messages import Generate


def with_defaults(message: Generate, defaults: Mapping[str, float | int]) -> SamplingParams:
    """Return the request's parameters, with the model's defaults for those that its client left open."""
    open_fields = {field: value for field, value in defaults.items() if field not in message.given}
    return msgspec.structs.replace(message.params, **open_fields) if open_fields else message.params
