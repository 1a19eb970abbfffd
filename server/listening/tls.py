"""`TlsFiles`: a server's certificate and key, checked before use and read anew when they change.

A handshake takes the context that is there when it begins, so a change ends no connection; and a pair that
isn't right changes nothing.
"""

from __future__ import annotations

import asyncio
import logging
import ssl
import stat
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

from models.errors import ConfigError
from server.listening.certificate import validity_of

logger = logging.getLogger("corral.serve")

LOOK_S = 30.0
"""The files are looked at, at this interval: programs that renew certificates needn't tell the server."""
WARN_DAYS = 14
"""A certificate that ends sooner is worth a warning."""
_PRIVATE = stat.S_IWGRP | stat.S_IRWXO
"""Nobody but the key's owner and its group should read it, and only its owner write it."""

_Signature = tuple[tuple[int, int, int], ...]


def _now() -> datetime:
    return datetime.now(UTC)


class TlsFiles:
    """The pair of files and the context made of it. It belongs to the event loop, once that runs."""

    def __init__(self, certificate: Path, key: Path, now: Callable[[], datetime] = _now) -> None:
        """Raises ConfigError if the two can't be used."""
        self._certificate = certificate
        self._key = key
        self._now = now
        self._seen = self._signature()
        self._current = self._read()
        self.context = self._current
        """The context to listen with: each handshake goes on with the pair that was read last."""
        self.context.sni_callback = self._choose

    async def reload(self) -> list[str]:
        """Take the files as they are now, for handshakes to come; return what has changed, in words.

        Raises ConfigError, and nothing has changed, if they can't be used.
        """
        seen = self._signature()
        is_other, self._seen = seen != self._seen, seen
        self._current = await asyncio.to_thread(self._read)
        return [f"the certificate {self._certificate} was read anew"] if is_other else []

    async def look(self) -> None:
        """Take the files if they have changed since they were read. What is wrong with them is logged."""
        if self._signature() == self._seen:
            return
        try:
            changes = await self.reload()
        except ConfigError as error:
            logger.error("TLS: %s; the certificate from before stays in use", error.message)  # noqa: TRY400
            return
        for change in changes:
            logger.info("TLS: %s", change)

    async def watch(self) -> None:
        """Look again and again, until it is cancelled."""
        while True:
            await asyncio.sleep(LOOK_S)
            try:
                await self.look()
            except Exception:  # nobody awaits this task, and the next look may go well
                logger.exception("TLS: the certificate from before stays in use")

    # --- inside ---

    def _choose(self, connection: ssl.SSLObject | ssl.SSLSocket, _name: str, _first: ssl.SSLContext) -> None:
        """Let a handshake that has just begun go on with the current pair; OpenSSL calls it for each."""
        connection.context = self._current

    def _signature(self) -> _Signature:
        """Return what changes when one of the files does; a file that isn't there has zeros."""
        found = []
        for path in (self._certificate, self._key):
            try:
                state = path.stat()
            except OSError:
                found.append((0, 0, 0))
            else:
                found.append((state.st_ino, state.st_size, state.st_mtime_ns))
        return tuple(found)

    def _read(self) -> ssl.SSLContext:
        certificate, key = self._certificate, self._key
        pem = _text(certificate, "--tls-cert")
        _text(key, "--tls-key")
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.set_alpn_protocols(["http/1.1"])
        try:
            context.load_cert_chain(certificate, key, password=_refuse_password)
        except _Encrypted as error:
            raise ConfigError(
                f"the key {key} has a password, for which a server can't ask; write one without:"
                f" openssl pkey -in {key} -out KEY.pem"
            ) from error
        except ssl.SSLError as error:
            raise ConfigError(_problem(error, certificate, key)) from error
        self._check_time(pem)
        if (mode := stat.S_IMODE(key.stat().st_mode)) & _PRIVATE:
            logger.warning(
                "TLS: others on this machine have access to the key %s (mode %o): chmod 600 %s",
                key,
                mode,
                key,
            )
        return context

    def _check_time(self, pem: str) -> None:
        try:
            validity = validity_of(pem)
        except ValueError as error:
            raise ConfigError(f"--tls-cert {self._certificate}: {error}") from error
        now = self._now()
        if now > validity.end:
            raise ConfigError(
                f"the certificate {self._certificate} has expired on {validity.end:%Y-%m-%d}; clients would"
                " refuse it: renew it"
            )
        if now < validity.begin:
            raise ConfigError(
                f"the certificate {self._certificate} isn't valid before {validity.begin:%Y-%m-%d %H:%M} UTC;"
                " check it, and this machine's clock"
            )
        if (left := validity.end - now).days < WARN_DAYS:
            logger.warning("TLS: the certificate %s expires in %d days", self._certificate, left.days)


class _Encrypted(Exception):
    """The key has a password; it never leaves this module."""


def _refuse_password() -> str:
    raise _Encrypted


def _text(path: Path, flag: str) -> str:
    try:
        return path.read_text(encoding="ascii", errors="replace")
    except OSError as error:
        raise ConfigError(f"can't read {flag} {path}: {error.strerror or error}") from error


def _problem(error: ssl.SSLError, certificate: Path, key: Path) -> str:
    """Return what OpenSSL means, in words."""
    if error.reason == "KEY_VALUES_MISMATCH":
        return (
            f"the key {key} doesn't belong to the certificate {certificate}; give the pair that was made"
            " together"
        )
    if "PRIVATE KEY-----" not in _text(key, "--tls-key"):
        return f"--tls-key {key} has no PEM key (-----BEGIN PRIVATE KEY-----)"
    if "CERTIFICATE-----" not in _text(certificate, "--tls-cert"):
        return f"--tls-cert {certificate} has no PEM certificate (-----BEGIN CERTIFICATE-----)"
    why = (error.reason or str(error)).replace("_", " ").lower()
    return f"the certificate {certificate} and the key {key} can't be used ({why})"
