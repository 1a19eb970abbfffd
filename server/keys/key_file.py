"""`KeyFile`: the named keys in one file under CORRAL_HOME, changed by commands and read by servers.

Only its owner may read it. Every change is made under a lock and replaces the file in one step, so a reader
sees the keys before or after it. Secrets aren't in it, only their hashes.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import msgspec
from filelock import Timeout

from models.errors import ConfigError, DiskFull, StoreError
from models.store import file_lock
from models.store.atomic_write import FREE_SOME, IN_THE_LOG, is_full, write_atomically
from server.keys.caller import KeyLimits, KeyScope
from server.keys.key import Key, Secret, check_name, digest, new_key_id, new_secret

LOCK_TIMEOUT_S = 10.0
"""Another command that changes the keys is waited for so many seconds."""
_VERSION = 1


class _Content(msgspec.Struct, forbid_unknown_fields=True):
    version: int
    keys: list[Key]


class KeyFile:
    """The file at `path`. `now` returns the time in Unix seconds."""

    def __init__(self, path: Path, now: Callable[[], float] = time.time) -> None:
        self.path = path
        self._now = now

    def read(self) -> list[Key]:
        """Return all keys, none without a file. Raises ConfigError for a file that can't be used."""
        try:
            return _decoded(self.path.read_bytes(), self.path)
        except FileNotFoundError:
            return []
        except OSError as error:
            raise ConfigError(
                f"the keys in {self.path} can't be read ({error.strerror or error}); check its permissions"
            ) from error

    def add(
        self,
        name: str,
        scopes: Sequence[KeyScope],
        models: Sequence[str],
        limits: KeyLimits,
        expires: int | None = None,
    ) -> tuple[Key, str]:
        """Add a key; return it and its secret, which is nowhere else. Raises ConfigError, and StoreError."""
        check_name(name)
        secret, now = new_secret(), int(self._now())
        with self._changing() as keys:
            if any(key.name == name for key in keys):
                raise ConfigError(
                    f"there is a key with the name {name}; take another name, or corral keys rotate {name}"
                )
            key = Key(
                id=new_key_id(),
                name=name,
                secrets=(_hashed(secret, now),),
                created=now,
                scopes=tuple(scopes),
                models=tuple(models),
                limits=limits,
                expires=expires,
            )
            keys.append(key)
        return key, secret

    def rotate(self, name: str, overlap_s: int = 0, expires: int | None = None) -> tuple[Key, str]:
        """Give a key a new secret, and the end `expires`; the secrets before are good for `overlap_s` more.

        Without `expires` its end stays. Raises ConfigError, also for a key that has reached its end then.
        """
        secret, now = new_secret(), int(self._now())
        with self._changing() as keys:
            at = _index(keys, name)
            if expires is not None:
                keys[at] = msgspec.structs.replace(keys[at], expires=expires)
            elif keys[at].has_expired(now):
                raise ConfigError(
                    f"the key {name} has expired and keeps its end; give it a new one: --expires 90d"
                )
            before = []
            for old in keys[at].secrets:
                end = now + overlap_s if old.expires is None else min(old.expires, now + overlap_s)
                if end > now:
                    before.append(msgspec.structs.replace(old, expires=end))
            keys[at] = msgspec.structs.replace(keys[at], secrets=(_hashed(secret, now), *before))
            rotated = keys[at]
        return rotated, secret

    def remove(self, name: str) -> Key:
        """Remove a key; return it. Raises ConfigError."""
        with self._changing() as keys:
            return keys.pop(_index(keys, name))

    @contextmanager
    def _changing(self) -> Iterator[list[Key]]:
        """Yield the keys to be changed, under the lock; what they are at the end is written."""
        try:
            self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            lock = file_lock.acquire(self.path.with_name(f"{self.path.name}.lock"), LOCK_TIMEOUT_S)
        except Timeout as error:
            raise StoreError(
                f"another command has changed {self.path} for {LOCK_TIMEOUT_S:.0f} seconds; try again",
                f"another command has changed the keys for {LOCK_TIMEOUT_S:.0f} seconds; try again",
            ) from error
        except OSError as error:
            raise _unwritable(self.path, error) from error
        with lock:
            keys = self.read()
            yield keys
            content = msgspec.json.format(msgspec.json.encode(_Content(_VERSION, keys)), indent=2)
            try:
                write_atomically(self.path, content, b"\n", private=True)
            except OSError as error:
                raise _unwritable(self.path, error) from error


def _unwritable(path: Path, error: OSError) -> StoreError:
    kind = DiskFull if is_full(error) else StoreError
    return kind(
        f"{path} can't be written ({error.strerror or error}); free some space or check the permissions",
        f"can't write the keys: {FREE_SOME if kind is DiskFull else IN_THE_LOG}",
    )


def _decoded(content: bytes, path: Path) -> list[Key]:
    try:
        found = msgspec.json.decode(content, type=_Content)
    except msgspec.DecodeError as error:
        raise ConfigError(
            f"the keys in {path} can't be read ({error}); put a good copy there, or move it away and add the "
            "keys anew"
        ) from error
    if found.version != _VERSION:
        raise ConfigError(
            f"the keys in {path} are of version {found.version}, and this program reads version {_VERSION}; "
            "use the newer program that wrote them"
        )
    return found.keys


def _hashed(secret: str, now: int) -> Secret:
    return Secret(sha256=digest(secret.encode()).hex(), created=now)


def _index(keys: Sequence[Key], name: str) -> int:
    for at, key in enumerate(keys):
        if key.name == name:
            return at
    known = ", ".join(key.name for key in keys) or "none yet"
    raise ConfigError(f"there is no key with the name {name!r}; there are: {known}")
