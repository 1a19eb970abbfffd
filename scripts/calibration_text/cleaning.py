"""Files' contents as plain text, and text in pieces. Pure."""

from __future__ import annotations

import html
import re
from collections.abc import Iterator
from typing import Final

PIECE: Final = 3000
"""The bytes of a piece, about; it ends at a line's end."""


def plain(text: str) -> str:
    """Return a text with its lines' ends and empty lines in order."""
    lines = [line.rstrip() for line in text.replace("\r\n", "\n").split("\n")]
    return re.sub(r"\n{3,}", "\n\n", "\n".join(lines)).strip()


def markdown(page: str) -> str:
    """Return a page of simple HTML as Markdown."""
    body = re.sub(r"(?s)<head>.*?</head>|<script.*?</script>", "", page)
    body = re.sub(r"(?s)<pre><code[^>]*>(.*?)</code></pre>", lambda m: f"\n```\n{m[1].strip()}\n```\n", body)
    body = re.sub(r"<h(\d)[^>]*>", lambda m: "\n" + "#" * int(m[1]) + " ", body)
    body = re.sub(r"<li[^>]*>", "\n* ", body)
    body = re.sub(r"</?code[^>]*>", "`", body)
    body = re.sub(r"</?(strong|b)>", "**", body)
    body = re.sub(r"</(p|h\d|ul|ol|blockquote)>", "\n", body)
    text = html.unescape(re.sub(r"<[^>]+>", "", body))
    return plain(re.sub(r"</?\d+>", "", text))  # what translators' tools left


def without_notice(code: str) -> str:
    """Return code without the comment that it begins with, which is the same in all files of a project."""
    code = re.sub(r"(?s)\A\s*/\*.*?\*/\s*", "", code)
    return re.sub(r"\A(\s*//[^\n]*\n)+", "", code)


def pieces(text: str, size: int = PIECE) -> Iterator[str]:
    """Yield a text in pieces of about `size` bytes, each of whole lines (or sentences of a long one)."""
    piece, length = [], 0
    for line in text.split("\n"):
        for part in re.split(r"(?<=[.!?。]) ", line) if len(line) > size else (line,):
            piece.append(part)
            length += len(part.encode()) + 1
            if length >= size:
                yield "\n".join(piece).strip("\n")
                piece, length = [], 0
    if length > size // 3:
        yield "\n".join(piece).strip("\n")
