"""`Caller`: whoever has sent a request, with the rights and limits of the key that came with it. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Annotated, Literal, get_args

import msgspec

KeyScope = Literal["infer", "embed", "models", "admin", "metrics"]
"""The rights that a key may have: answers, vectors and scores, the models, the server itself, figures."""
ALL_SCOPES: tuple[KeyScope, ...] = get_args(KeyScope)
"""Every right, in the order in which they are shown."""
ALL_MODELS = ("*",)
"""The pattern that every model's name matches."""


_Limit = Annotated[int, msgspec.Meta(ge=1)]


class KeyLimits(msgspec.Struct, frozen=True, kw_only=True):
    """The most that a key may do; None: as much as the server can."""

    requests_per_minute: _Limit | None = None
    tokens_per_minute: _Limit | None = None
    streams: _Limit | None = None
    """So many answers may be made for it at the same time."""

    @property
    def is_none(self) -> bool:
        """True if nothing is limited."""
        return self == NO_LIMITS


NO_LIMITS = KeyLimits()
"""The limits of whoever has none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Caller:
    """One caller. `owner` is the same for the same key, also after a rotation, and tells nothing of it.

    It is what kept answers, usage and the fair share between callers go by.
    """

    owner: str = ""
    name: str = ""
    """The key's name, for people."""
    scopes: frozenset[KeyScope] = frozenset(ALL_SCOPES)
    models: tuple[str, ...] = ALL_MODELS
    """Patterns as those of file names; a model's name must match one of them."""
    limits: KeyLimits = NO_LIMITS

    def may_use(self, *names: str) -> bool:
        """True if the caller may use a model that has all these names."""
        return any(fnmatchcase(name, pattern) for name in names for pattern in self.models)

    @property
    def has_all_models(self) -> bool:
        """True if no model is refused."""
        return "*" in self.models


ANYONE = Caller()
"""The caller where no key is asked for: all clients are one, which may do everything."""


@dataclass(slots=True)
class Call:
    """All that is done for a caller as one request."""

    caller: Caller
    is_background: bool = False
    """True where nobody waits for it, as for a batch: half of what the key's limits allow is left to those
    who do, and it takes none of their places for answers at the same time."""
    n_answers: int = 0
    """The number of its answers that are being made."""
    is_counted: bool = False
    """True once its usage has been counted as that of a request."""
    has_answered: bool = False
    """True once something of an answer has left, so that it can't be refused any more."""


_CALL: ContextVar[Call | None] = ContextVar("corral_call", default=None)


@contextmanager
def acting_for(caller: Caller, *, is_background: bool = False) -> Iterator[Call]:
    """Do what follows as one request of `caller`, in this task and in those that it starts."""
    call = Call(caller, is_background)
    token = _CALL.set(call)
    try:
        yield call
    finally:
        _CALL.reset(token)


def current_call() -> Call:
    """Return the request that this task works for; a new one of `ANYONE` where none is known."""
    return _CALL.get() or Call(ANYONE)
