"""`python -m scripts.sources` unpacks llama.cpp's sources and prints their folder.

They come with the bindings' archive. Tests, the oracle and the benchmarks use them: real vocabularies and
chat templates, llama.cpp's converter, its server. The archive is the one whose hash is in the lock; it lies
in the cache next to the wheels.
"""

from __future__ import annotations

import os
import shutil
import sys
import tarfile
import tempfile
from collections.abc import Mapping
from pathlib import Path

from scripts import lockfile
from scripts.environment import BINDINGS, PURPOSES, ROOT
from scripts.llama_cpp_wheel import sdist_of
from scripts.steps import SetUpError

LLAMA_CPP = "vendor/llama.cpp"


def unpack_sources(environ: Mapping[str, str], python: Path = Path(sys.executable)) -> Path:
    """Return the folder of llama.cpp's sources, unpacked at the first call. Raises SetUpError."""
    requirement = lockfile.one(lockfile.read(ROOT / PURPOSES["run"].locks[1]), BINDINGS)
    sdist = sdist_of(requirement, python, environ)
    return unpack(sdist) / LLAMA_CPP


def unpack(sdist: Path) -> Path:
    """Unpack `name-1.2.tar.gz` to the folder `name-1.2` next to it, by rename, unless it is there."""
    folder = sdist.with_name(sdist.name.removesuffix(".tar.gz"))
    if folder.is_dir():
        return folder
    with tempfile.TemporaryDirectory(prefix="unpacking-", dir=sdist.parent) as work:
        with tarfile.open(sdist) as archive:
            outside = [
                one.name
                for one in archive
                if not Path(work, one.name).resolve().is_relative_to(Path(work).resolve())
            ]
            if outside:
                raise SetUpError(f"{sdist.name} would write outside its folder: {outside[0]}; remove {sdist}")
            # Python 3.11 before 3.11.4 has no filters; the archive's hash is in the lock.
            archive.extraction_filter = getattr(tarfile, "data_filter", lambda member, _: member)
            archive.extractall(work)  # noqa: S202
        try:
            (Path(work) / folder.name).rename(folder)
        except OSError:
            # Another process was faster; what it made is the same.
            if not folder.is_dir():
                raise
            shutil.rmtree(Path(work) / folder.name)
    return folder


def main() -> int:
    """Print the folder.

    A failure is a line on stderr and status 1: the tests that need the sources skip then.
    """
    try:
        print(unpack_sources(dict(os.environ)))
    except SetUpError as error:
        print(f"llama.cpp's sources can't be had; tests that need them are skipped: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
