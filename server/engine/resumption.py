"""`Resumption`: how far a request had come in a worker that died, for the one in which it goes on.

Tokens are all that is needed: an answer's text, where its thoughts are, what may begin a stop string, a
grammar's state and the penalties' counts are functions of them, and the samplers draw as many random numbers
for them as before. The API process makes it of the events that came (`server.requests`).
"""

from __future__ import annotations

import hashlib
from array import array
from collections.abc import Sequence

import msgspec

from models.errors import RequestError

_ID_TYPE = "i"
"""Token ids are packed as 32-bit numbers of this machine's order; both ends are on it, or of its kind."""


class Beginning(msgspec.Struct, frozen=True, kw_only=True, array_like=True, gc=False):
    """The parts of a request's beginning that another worker couldn't know."""

    prompt: bytes
    """The ids of the prompt's tokens, packed; empty for a prompt with images, which is read again."""
    digest: bytes = b""
    """A prompt with images has this digest; empty for one without."""
    seed: int
    """The seed of the first choice's random numbers."""
    has_replay: bool
    """True if the samplers' state can be had from the tokens: answers can go on after their first token."""


class ChoiceSoFar(msgspec.Struct, frozen=True, kw_only=True, array_like=True, gc=False):
    """One choice that goes on."""

    index: int
    tokens: bytes = b""
    """The ids of the tokens that events carried, packed."""
    n_characters: int = 0
    """The number of characters that events carried: of those tokens' text, and maybe of the next token's."""
    has_echo: bool = False
    """The echo of the prompt was reported."""


class Resumption(msgspec.Struct, frozen=True, kw_only=True, array_like=True, gc=False):
    """A request that has begun elsewhere. What the client has had isn't reported again."""

    beginning: Beginning
    choices: tuple[ChoiceSoFar, ...]
    """The choices that haven't ended."""
    is_scored: bool = False
    """The prompt's logprobs have been reported."""
    age_s: float = 0.0
    """The request was begun so many seconds ago, for its limit of time."""
    first_token_age_s: float | None = None
    """Its first token came so many seconds ago, for `predict_ms`; None: it has none."""


def packed(tokens: Sequence[int]) -> bytes:
    """Return token ids as bytes."""
    return array(_ID_TYPE, tokens).tobytes()


def unpacked(data: bytes) -> list[int]:
    """Return the token ids of `packed`. Raises RequestError for bytes that are none."""
    ids = array(_ID_TYPE)
    if len(data) % ids.itemsize:
        raise cannot_resume("its tokens came damaged")
    ids.frombytes(data)
    return ids.tolist()


def prompt_digest(tokens: Sequence[int]) -> bytes:
    """Return a digest of a prompt's tokens, those of images included."""
    return hashlib.blake2b(array("Q", tokens).tobytes(), digest_size=16).digest()


def cannot_resume(reason: str) -> RequestError:
    """Return the error of a worker that can't go on with a request; the client hears of the death instead."""
    return RequestError(f"the answer can't go on in another worker: {reason}")
