"""`Key`: a named API key as it is kept: hashes of its secrets, rights, limits and its end. Pure.

A secret is 256 random bits, which nobody finds by trying: so one round of SHA-256 hides it as well as a slow
hash would, and without a salt, since no two secrets are alike. A slow one would be felt in every request.
"""

from __future__ import annotations

import hashlib
import re
import secrets
import time
from collections.abc import Iterable
from typing import Annotated, Any

import msgspec

from models.errors import ConfigError
from server.keys.caller import ALL_MODELS, ALL_SCOPES, Caller, KeyLimits, KeyScope

DEFAULT_SCOPES: tuple[KeyScope, ...] = ("infer", "embed", "models")
"""The rights of a key that is added without any."""
_PREFIX = "sk-corral-"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@+-]{0,63}")
_PATTERN = re.compile(r"[!-~]{1,200}")
_MOST = 1_000_000_000
_Moment = Annotated[int, msgspec.Meta(ge=0, le=253_402_300_799)]
"""A time in Unix seconds, until the end of the year 9999."""


class Secret(msgspec.Struct, frozen=True, kw_only=True):
    """The hash of a key's secret, in hexadecimal digits. Times are Unix seconds."""

    sha256: Annotated[str, msgspec.Meta(pattern="^[0-9a-f]{64}$")]
    created: _Moment
    expires: _Moment | None = None
    """An earlier secret of a rotated key is good until then."""


class Key(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One key. `id` is the owner of what is kept for it, and stays when it is rotated."""

    id: str
    name: str
    secrets: tuple[Secret, ...]
    """The latest secret first."""
    created: _Moment
    scopes: tuple[KeyScope, ...] = DEFAULT_SCOPES
    models: tuple[str, ...] = ALL_MODELS
    limits: KeyLimits = KeyLimits()
    expires: _Moment | None = None

    def has_expired(self, now: float) -> bool:
        """True if none of its secrets is good any more."""
        return self.expires is not None and now >= self.expires

    def description(self) -> dict[str, Any]:
        """Return what may be told of it: all but the hashes of its secrets."""
        return {
            "id": self.id,
            "name": self.name,
            "scopes": list(self.scopes),
            "models": list(self.models),
            **msgspec.structs.asdict(self.limits),
            "created": self.created,
            "expires": self.expires,
            "expired": self.has_expired(time.time()),
            "secrets": [{"created": secret.created, "expires": secret.expires} for secret in self.secrets],
        }

    def caller(self) -> Caller:
        """Return whoever calls with this key."""
        return Caller(
            owner=self.id,
            name=self.name,
            scopes=frozenset(self.scopes),
            models=self.models,
            limits=self.limits,
        )


def new_secret() -> str:
    """Return a fresh secret; it begins as OpenAI's keys do, which some clients look for."""
    return _PREFIX + secrets.token_urlsafe(32)


def new_key_id() -> str:
    """Return a fresh id of a key."""
    return f"key_{secrets.token_hex(12)}"


def digest(secret: bytes) -> bytes:
    """Return the hash by which a secret is known."""
    return hashlib.sha256(secret).digest()


def check_name(name: str) -> str:
    """Return the name. Raises ConfigError for one that a key can't have."""
    if not _NAME.fullmatch(name):
        raise ConfigError(
            f"{name!r} is no name for a key; use up to 64 letters, digits and . _ @ + -, the first of them a "
            "letter or a digit"
        )
    return name


def check_scopes(scopes: Iterable[str]) -> tuple[KeyScope, ...]:
    """Return the rights in their order, the default ones for none. Raises ConfigError for an unknown one."""
    wanted = set(scopes)
    unknown = sorted(wanted - set(ALL_SCOPES))
    if unknown:
        raise ConfigError(f"{unknown[0]!r} is no scope; scopes are {', '.join(ALL_SCOPES)}")
    return tuple(scope for scope in ALL_SCOPES if scope in wanted) or DEFAULT_SCOPES


def check_models(patterns: Iterable[str]) -> tuple[str, ...]:
    """Return the patterns, that for all models if there are none. Raises ConfigError for a senseless one."""
    given = tuple(dict.fromkeys(patterns))
    for pattern in given:
        if not _PATTERN.fullmatch(pattern):
            raise ConfigError(
                f"{pattern!r} is no pattern of a model's name; write org/name, org/* or *:Q4_K_M"
            )
    return given or ALL_MODELS


def check_limit(value: int | None, flag: str) -> int | None:
    """Return the limit. Raises ConfigError for one that lets nothing through."""
    if value is not None and not 1 <= value <= _MOST:
        raise ConfigError(f"{flag} {value} is no limit; it goes from 1 to {_MOST:,}")
    return value
