"""GPT-2's printable character for each byte, in which byte-level vocabularies are written.

https://github.com/openai/gpt-2/blob/master/src/encoder.py (`bytes_to_unicode`)
"""

from __future__ import annotations

from typing import Final

PRINTABLE: Final = frozenset([*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)])


def _characters() -> tuple[str, ...]:
    others = iter(range(0x100, 0x200))
    return tuple(chr(byte if byte in PRINTABLE else next(others)) for byte in range(256))


BYTE_CHARACTERS: Final = _characters()
