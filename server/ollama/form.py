"""`OllamaForm`: the form of an answer of `/api/chat` or `/api/generate`."""

from __future__ import annotations

from typing import Literal

import msgspec

from server.chat.tools import Tool


class OllamaForm(msgspec.Struct, frozen=True, kw_only=True):
    """The wishes of a request that the worker has no part in."""

    route: Literal["chat", "generate"]
    tools: tuple[Tool, ...] = ()
    """The tools that the answer may call."""
    only_loads: bool = False
    """The request asks nothing: the model is loaded, or unloaded where it is to stay for 0 seconds."""
    keep_alive_s: float | None = None
    """As in `Generate`, for a request that asks nothing."""
    needs_thoughts: bool = False
    """The request turns thoughts on, which a model without them refuses."""
    n_top: int | None = None
    """So many alternatives are told with each token; None: no logprobs at all."""
    tells_context: bool = False
    """The answer ends with the tokens of prompt and answer, from which a client may go on."""
