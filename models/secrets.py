"""Secrets of the environment: read once, cleaned, and taken out of everything that is printed.

A secret from a file often ends with a line break, which no HTTP header may have: it is cut off, as
huggingface_hub does. `Redactor` is the last line of defence: the program's messages and log lines go through
it, whatever a library quotes in them.
"""

from __future__ import annotations

import base64
import json
import logging
import re
from collections.abc import Iterable, Mapping
from typing import Final
from urllib.parse import unquote, urlsplit

from models.errors import ConfigError

HIDDEN: Final = "***"
"""A secret is replaced with this."""

_SHORTEST: Final = 4
"""A value with fewer characters isn't looked for: it would be found in ordinary words."""

_SECRET_NAME: Final = re.compile(
    r"(?i)(TOKEN|(API|ACCESS|SECRET)_?KEYS?|SECRET|PASSWORD|PASSWD|PASSPHRASE|CREDENTIALS?)$"
)
_TOKEN: Final = re.compile(r"\b((hf|api_org)_[A-Za-z0-9_]{6,}|sk-corral-[A-Za-z0-9_-]{6,})")
_USER: Final = re.compile(r"\b([A-Za-z][A-Za-z0-9+.-]*://)[^\s/?#'\"<>]*@")
_HEADER: Final = re.compile(r"\b([Bb]earer|Basic) [A-Za-z0-9._~+/=-]{8,}")
_QUERY: Final = re.compile(
    r"(?i)([?&][\w.-]*(?:token|signature|sig|key|secret|credential|password|policy)[\w.-]*=)[^&\s'\"<>)]+"
)
_VISIBLE: Final = re.compile(r"[!-~]+")


def clean_secret(text: str, where: str) -> str | None:
    """Return a token or key without line breaks and without space around it; None if nothing is left.

    Raises ConfigError for one that can't be sent in a header, naming `where` it is from and not the value.
    """
    secret = text.replace("\r", "").replace("\n", "").strip()
    if not secret:
        return None
    if not _VISIBLE.fullmatch(secret):
        raise ConfigError(
            f"{where} has a character that can't be sent (a space, a control character, or one outside of"
            " ASCII); set it again, to the secret alone"
        )
    return secret


def clean_address(text: str, where: str) -> str | None:
    """Return a server's address without space around it and a slash at its end; None if nothing is left.

    Raises ConfigError for what is no URL, naming `where` it is from and not the value: where the parts are
    unclear, so is what of it is a password.
    """
    address = text.strip().rstrip("/")
    if not address:
        return None
    try:
        parts = urlsplit(address)
        is_url = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        is_url = False
    if not is_url:
        raise ConfigError(
            f"{where} is no address such as https://huggingface.co; correct it (in a user's name or password,"
            " special characters are percent-encoded)"
        )
    return address


class Redactor:
    """A function that takes secrets out of a text: those it knows, and what looks like one.

    The latter are the Hub's tokens, this server's keys, users and passwords in URLs, Authorization headers
    and signed URLs.
    """

    def __init__(self, secrets: Iterable[str] = ()) -> None:
        forms = {form for secret in secrets for form in _forms(secret) if len(form) >= _SHORTEST}
        longest_first = sorted(forms, key=len, reverse=True)
        self._known = re.compile("|".join(map(re.escape, longest_first))) if longest_first else None

    @classmethod
    def of(cls, env: Mapping[str, str]) -> Redactor:
        """Return the one that knows the secrets among these variables."""
        return cls(_secrets(env))

    def __call__(self, text: str) -> str:
        if self._known is not None:
            text = self._known.sub(HIDDEN, text)
        text = _TOKEN.sub(HIDDEN, text)
        if "://" in text:  # looking for a letter takes a microsecond, and most lines have neither
            text = _USER.sub(rf"\1{HIDDEN}@", text)
        if "earer " in text or "Basic " in text:
            text = _HEADER.sub(rf"\1 {HIDDEN}", text)
        if "?" in text or "&" in text:
            text = _QUERY.sub(rf"\1{HIDDEN}", text)
        return text


class RedactingFormatter(logging.Formatter):
    """A formatter of log lines, tracebacks included, without secrets."""

    def __init__(self, format_: str, redact: Redactor, datefmt: str | None = None) -> None:
        super().__init__(format_, datefmt)
        self._redact = redact

    def format(self, record: logging.LogRecord) -> str:
        return self._redact(super().format(record))


def without_user(url: str) -> str:
    """Return a URL for people: without a user and a password."""
    return _USER.sub(r"\1", url)


def _secrets(env: Mapping[str, str]) -> Iterable[str]:
    for name, value in env.items():
        if _SECRET_NAME.search(name):
            yield value
            yield from value.split(",")
        elif name.upper().endswith(("_PROXY", "_ENDPOINT", "_URL")):
            yield from _in_url(value)


def _in_url(value: str) -> Iterable[str]:
    """Yield a URL's password, and user and password as a header has them; the scheme may be missing.

    Of a URL that is cut at the wrong places, because a password has what ends a host, yield all parts.
    """
    _, _, rest = value.strip().rpartition("://")
    try:
        parts = urlsplit(f"http://{rest}")
        _ = parts.port
        users = [(parts.username, parts.password)] if parts.password else []
    except ValueError:
        name, _, password = rest.rpartition("@")[0].partition(":")
        users = [(name, password)] if password else []
        yield from re.split(r"[/?#@:]", password)
    for user, password in users:
        if password:
            yield password
            yield base64.b64encode(unquote(f"{user}:{password}").encode()).decode()


def _forms(secret: str) -> Iterable[str]:
    """Yield the ways in which a text may have a secret: as it is, cleaned, percent-decoded, escaped."""
    cleaned = secret.replace("\r", "").replace("\n", "").strip()
    for form in (secret.strip(), cleaned, unquote(cleaned)):
        for escaped in (form, *(quoted[1:-1] for quoted in (repr(form), ascii(form), json.dumps(form)))):
            yield from (escaped, escaped.replace("'", "\\'"))
        yield repr(form.encode("utf-8", "surrogateescape"))[2:-1]
