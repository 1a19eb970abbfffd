"""`validity_of`: the time in which the first certificate of a PEM file is valid.

Python's `ssl` tells it of a peer's certificate only. In the DER form it is the fifth element of the body,
behind an optional version, the serial number, the algorithm and the issuer (RFC 5280, 4.1).
"""

from __future__ import annotations

import re
import ssl
from datetime import UTC, datetime
from typing import NamedTuple

_PEM = re.compile(
    r"-----BEGIN (?:TRUSTED )?CERTIFICATE-----.+?-----END (?:TRUSTED )?CERTIFICATE-----", re.DOTALL
)
_VERSION = 0xA0
_UTC_TIME, _GENERALIZED_TIME = 0x17, 0x18
_CENTURY_CHANGE = 50
"""A year of two digits from this one on is one of the last century."""


class Validity(NamedTuple):
    """The first and the last moment of a certificate."""

    begin: datetime
    end: datetime


def validity_of(pem: str) -> Validity:
    """Return when the first certificate in a PEM file is valid. Raises ValueError if there is none."""
    match = _PEM.search(pem)
    if match is None:
        raise ValueError("it has no PEM certificate")
    try:
        return _validity(ssl.PEM_cert_to_DER_cert(match[0].replace("TRUSTED ", "")))
    except (ValueError, IndexError) as error:
        raise ValueError(f"its first certificate can't be read ({error})") from error


def _validity(der: bytes) -> Validity:
    _, certificate, _ = _element(der)
    _, rest, _ = _element(certificate)
    tag, _, after = _element(rest)
    rest = after if tag == _VERSION else rest
    for _ in ("serial number", "algorithm", "issuer"):
        _, _, rest = _element(rest)
    _, times, _ = _element(rest)
    begin_tag, begin, times = _element(times)
    end_tag, end, _ = _element(times)
    return Validity(_time(begin_tag, begin), _time(end_tag, end))


def _element(data: bytes) -> tuple[int, bytes, bytes]:
    """Return the tag and the content of the first element, and what is behind it."""
    tag, length, start = data[0], data[1], 2
    if length & 0x80:
        start += length & 0x7F
        length = int.from_bytes(data[2:start], "big")
    if start + length > len(data):
        raise ValueError("an element is longer than the certificate")
    return tag, data[start : start + length], data[start + length :]


def _time(tag: int, content: bytes) -> datetime:
    text = content.decode("ascii")
    if tag == _UTC_TIME:
        text = ("19" if int(text[:2]) >= _CENTURY_CHANGE else "20") + text
    elif tag != _GENERALIZED_TIME:
        raise ValueError("it has no times where they belong")
    return datetime.strptime(text, "%Y%m%d%H%M%SZ").replace(tzinfo=UTC)
