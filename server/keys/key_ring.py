"""`KeyRing`: the keys that a server knows: its settings', and the file's, read again when it changes.

A server that has begun to ask for keys goes on asking, even if the file is emptied, damaged or gone: no
mistake with a file opens it to everyone.
"""

from __future__ import annotations

import hmac
import logging
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from models.errors import ConfigError
from server.keys.caller import ANYONE, Caller
from server.keys.key import Key, digest
from server.keys.key_file import KeyFile

logger = logging.getLogger("corral.keys")

_Version = tuple[int, int, int]


@dataclass(frozen=True, slots=True)
class _Known:
    digest: bytes
    caller: Caller
    expires: int | None


class ExpiredKey(Exception):
    """A key that was good once. `name` is the key's, `expired` the time in Unix seconds."""

    def __init__(self, name: str, expired: int) -> None:
        super().__init__(name)
        self.name = name
        self.expired = expired


class KeyRing:
    """All keys. `plain` ones are the owner's and may do everything; without them and a file nobody needs one.

    Made and used by one thread. Raises ConfigError when it is made for a file that can't be read.
    """

    def __init__(
        self, plain: Sequence[str] = (), file: KeyFile | None = None, now: Callable[[], float] = time.time
    ) -> None:
        self._plain = [_plain_key(key, at, len(plain)) for at, key in enumerate(plain)]
        self._file = file
        self._now = now
        self._keys: list[Key] = []
        self._known: list[_Known] = []
        self._version: _Version | None = None
        self._was_asked_for = bool(plain)
        if file is not None and self._current_version() is not None:
            self._read(file)

    def asks_for_keys(self) -> bool:
        """Return True if a request needs a key."""
        self._renew()
        return self._was_asked_for

    def named(self) -> list[Key]:
        """Return the named keys."""
        self._renew()
        return list(self._keys)

    def caller_of(self, secrets: Iterable[bytes]) -> Caller | None:
        """Return whoever has the first of these secrets that is good; None: none is. Raises ExpiredKey.

        Every secret is compared with every known one, each in constant time, so that the time an answer takes
        tells neither a key's content nor which of them is near.
        """
        self._renew()
        now = self._now()
        known_ones = [*self._plain, *self._known]
        good: Caller | None = None
        expired: ExpiredKey | None = None
        for given in map(digest, secrets):
            for known in known_ones:
                if not hmac.compare_digest(given, known.digest):
                    continue
                if known.expires is not None and now >= known.expires:
                    expired = ExpiredKey(known.caller.name, known.expires)
                elif good is None:
                    good = known.caller
        if good is None and expired is not None:
            raise expired
        return good

    def caller_by_owner(self, owner: str) -> Caller | None:
        """Return the caller with this owner's name, for work that goes on without its request; None: gone."""
        self._renew()
        now = self._now()
        for known in (*self._plain, *self._known):
            if known.caller.owner == owner and (known.expires is None or now < known.expires):
                return known.caller
        return ANYONE if owner == "" and not self._was_asked_for else None

    def _renew(self) -> None:
        if self._file is None or self._current_version() == self._version:
            return
        if self._current_version() is None:
            logger.warning(
                "%s is gone; its keys are good no more, and keys are asked for still", self._file.path
            )
            self._keys, self._known, self._version = [], [], None
            return
        try:
            self._read(self._file)
        except ConfigError as error:
            logger.error("the keys stay as they were: %s", error.message)  # noqa: TRY400 - it says all

    def _read(self, file: KeyFile) -> None:
        self._version = self._current_version()  # before the content: a change in between is read next time
        self._was_asked_for = True
        self._keys = file.read()
        self._known = [known for key in self._keys for known in _known(key)]

    def _current_version(self) -> _Version | None:
        assert self._file is not None
        try:
            found = self._file.path.stat()
        except OSError:
            return None
        return found.st_mtime_ns, found.st_ino, found.st_size


def _plain_key(secret: str, at: int, n: int) -> _Known:
    hashed = digest(secret.encode())
    caller = Caller(owner=digest(hashed).hex()[:32], name="--api-key" if n == 1 else f"--api-key #{at + 1}")
    return _Known(hashed, caller, None)


def _known(key: Key) -> list[_Known]:
    caller = key.caller()
    found = []
    for secret in key.secrets:
        ends = [end for end in (key.expires, secret.expires) if end is not None]
        found.append(_Known(bytes.fromhex(secret.sha256), caller, min(ends, default=None)))
    return found
