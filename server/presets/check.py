"""`check_layers`: what presets set, as the protocols' own readers see it. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, Final

import msgspec

from models.errors import RequestError
from server.openai.requests.reading import Purpose, ReadJob, read
from server.presets.apply import apply_layers
from server.presets.body import Body
from server.presets.table import Layer

_CHAT: Final[dict[str, Any]] = {"messages": [{"role": "user", "content": "Hi"}]}
_LEAST: Final[Mapping[Purpose, dict[str, Any]]] = MappingProxyType(
    {
        "chat": _CHAT,
        "apply_template": _CHAT,
        "text": {"prompt": "Hi"},
        "native": {"prompt": "Hi"},
        "infill": {"input_prefix": "a", "input_suffix": "b"},
        "response": {"input": "Hi"},
        "messages": _CHAT | {"max_tokens": 1 << 20},
        "count_tokens": _CHAT,
        "ollama_chat": _CHAT,
        "ollama_generate": {"prompt": "Hi"},
        "embeddings": {"input": "Hi"},
        "embed": {"inputs": "Hi"},
        "rerank": {"query": "Hi", "documents": ["Ho"]},
        "score": {"text_1": "Hi", "text_2": "Ho"},
    }
)
"""The least request of each purpose."""


def check_layers(layers: Sequence[Layer]) -> RequestError | None:
    """Return the first error that a request of any protocol gets for what the layers set; None: none."""
    for purpose, least in _LEAST.items():
        request = Body(msgspec.json.encode(least))
        apply_layers(layers, request, purpose)
        try:
            read(ReadJob(purpose=purpose), request.json())
        except RequestError as error:
            return error
    return None
