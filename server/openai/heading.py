"""The fields that every chunk of an answer, and a whole answer, have in common. Pure."""

from __future__ import annotations

import secrets
from typing import Literal

import msgspec
from msgspec import UNSET, UnsetType

from models.version import VERSION
from server.openai import response_types

SYSTEM_FINGERPRINT = f"corral-{VERSION}"
"""The fingerprint in every answer: two answers with one fingerprint come from one version."""

Kind = Literal["chat", "text"]
"""`chat` is an answer of `/v1/chat/completions`, `text` one of `/v1/completions`."""

_PREFIXES: dict[Kind, str] = {"chat": "chatcmpl-", "text": "cmpl-"}


def new_id(kind: Kind) -> str:
    """Return a fresh id in OpenAI's form."""
    return _PREFIXES[kind] + secrets.token_hex(15)


class Heading(msgspec.Struct, frozen=True, kw_only=True):
    """The identity of one answer. `n_choices` is prompts × n, or prompts × best_of."""

    kind: Kind
    id: str
    created: int
    model: str
    n_choices: int = 1
    is_native: bool = False
    """True where the server follows llama-server: a chat's first chunk has a null content, and the
    fingerprint begins as its builds do."""

    def body(
        self,
        choices: list[response_types.Choice],
        *,
        streamed: bool,
        usage: response_types.Usage | UnsetType | None = UNSET,
        timings: response_types.Timings | UnsetType = UNSET,
    ) -> response_types.Answer:
        """Return a chunk, or the whole answer, with these choices."""
        if self.kind == "text":
            name: response_types.ObjectName = "text_completion"
        else:
            name = "chat.completion.chunk" if streamed else "chat.completion"
        return response_types.Answer(
            id=self.id,
            object=name,
            created=self.created,
            model=self.model,
            system_fingerprint=f"b-{SYSTEM_FINGERPRINT}" if self.is_native else SYSTEM_FINGERPRINT,
            choices=choices,
            usage=usage,
            timings=timings,
        )
