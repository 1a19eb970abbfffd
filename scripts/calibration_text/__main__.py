"""Build the calibration text that Corral brings along, and the text that is held out, from pinned packages.

    python -m scripts.calibration_text [--cache FOLDER] [--check]

Both are mixtures: pieces of about 3 kB of each kind follow each other in a fixed cycle, so that any part of
the text is a mixture too. What packages don't have, such as dialogue, is written for it: own/.
"""

from __future__ import annotations

import argparse
import hashlib
import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Final

from scripts.calibration_text.cleaning import plain
from scripts.calibration_text.kinds import CYCLE, OWN, held_out_kinds, mix_kinds
from scripts.calibration_text.packages import SOURCES, Files, package_files

TEXTS: Final = Path(__file__).resolve().parents[2] / "quantize" / "calibration" / "texts"
MIX_BYTES: Final = 1_150_000
HELD_OUT_BYTES: Final = 160_000
_UNPACKED_LICENCES: Final = {"@openzeppelin/contracts": OWN / "openzeppelin-licence.txt"}
"""The licences of packages that name theirs but don't carry its text."""


def mixed(kinds: dict[str, Iterator[str]], cycle: Sequence[str], n_bytes: int) -> str:
    """Return one text of the kinds' pieces in the cycle's order, of `n_bytes` at most."""
    text: list[str] = []
    length, ended = 0, set[str]()
    while len(ended) < len(kinds):
        for kind in cycle:
            piece = next(kinds[kind], None)
            if piece is None:
                ended.add(kind)
                continue
            length += len(piece.encode()) + 2
            if length > n_bytes:
                return "\n\n".join(text) + "\n"
            text.append(piece)
    return "\n\n".join(text) + "\n"


def build(cache: Path) -> dict[str, str]:
    """Return both texts and the notices that go with them, by their files' names."""

    def get(name: str) -> Files:
        return package_files(SOURCES[name], cache)

    return {
        "mix.txt": mixed(mix_kinds(get), CYCLE, MIX_BYTES),
        "held_out.txt": mixed(held_out_kinds(get), ("speech", "contracts"), HELD_OUT_BYTES),
        "NOTICES": notices(get),
    }


def notices(get: Callable[[str], Files]) -> str:
    """Return the licences that must go with copies of a package's parts; CC0 asks for none."""
    parts = [
        "These are the licences of the packages that parts of mix.txt and held_out.txt were taken from.\n"
    ]
    for source in SOURCES.values():
        if source.licence.startswith("CC0"):
            continue
        files = get(source.name)
        names = [
            name for name in files if re.fullmatch(r"(?i)(.*dist-info/.*)?(licen[sc]e|notice)(\.\w+)?", name)
        ]
        texts = [files[name].decode() for name in names] or [
            _UNPACKED_LICENCES[source.name].read_text("utf-8")
        ]
        parts.append(
            "\n\n".join([f"=== {source.name} {source.version} ({source.licence})", *map(plain, texts)])
        )
    return "\n\n".join(parts) + "\n"


def main() -> None:
    """Write the texts, or compare those that are there."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cache", type=Path, default=Path.home() / ".cache" / "corral" / "calibration")
    parser.add_argument("--check", action="store_true", help="fail where a text differs from what is built")
    arguments = parser.parse_args()
    for name, text in build(arguments.cache).items():
        target = TEXTS / name
        if arguments.check:
            if target.read_text("utf-8") != text:
                raise SystemExit(f"{target} isn't what is built")
        else:
            target.write_text(text, "utf-8")
        print(f"{name}: {len(text.encode()):,} bytes, SHA-256 {hashlib.sha256(text.encode()).hexdigest()}")


if __name__ == "__main__":
    main()
