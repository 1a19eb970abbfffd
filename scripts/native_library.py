"""`NativeLibrary`: a library that set-up compiles beside the wheel, and the steps of keeping it there.

`scripts.kernels` and `scripts.rpc` have one each, and say what decides its bytes, how it is compiled, and the
words. It is compiled once per machine into the cache, put beside llama.cpp's libraries, and noted in the
environment's stamp. Corral works without it, so where it can't be had, set-up warns and goes on.
`scripts.llama_cpp_wheel` builds the wheel itself.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import platform
import shlex
import shutil
import subprocess
import sys
import tempfile
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from scripts import compiler, environment, lockfile
from scripts.llama_cpp_wheel import locked
from scripts.lockfile import Locked
from scripts.sources import unpack_sources
from scripts.steps import SetUpError, say

FAILURES = (SetUpError, compiler.CompilerMissing, lockfile.LockError, OSError)
"""These keep a library from being built or installed; their text is for a terminal."""


@dataclass(frozen=True)
class Build(ABC):
    """A build of a library: everything that decides its bytes."""

    requirement: Locked
    """The bindings, beside whose wheel the library lies."""
    environ: Mapping[str, str]
    machine: str = field(default_factory=platform.machine)

    @property
    def compiler(self) -> list[str]:
        """The command of the wheel's compiler. Raises CompilerMissing."""
        wanted = shlex.split(self.environ.get("CXX", ""))
        return wanted or [compiler.find_compiler(self.environ).path]

    @property
    def wheel_flags(self) -> tuple[str, ...]:
        """The wheel's C++ flags. Raises CompilerMissing."""
        found = compiler.find_compiler(self.environ)
        user_args, user_flags = self.environ.get("CMAKE_ARGS", ""), self.environ.get("CXXFLAGS", "")
        return compiler.all_cxx_flags(found, self.machine, user_args, user_flags)

    @property
    def link_flags(self) -> tuple[str, ...]:
        """The linker's flags: the library finds those beside it; then the user's."""
        return ("-Wl,-rpath,$ORIGIN", *shlex.split(self.environ.get("LDFLAGS", "")))

    @property
    @abstractmethod
    def folder(self) -> Path:
        """The folder in the cache for this build alone. Raises SetUpError, CompilerMissing."""

    @abstractmethod
    def compile(self, target: Path, logs: Path, libraries: Path, sources: Path) -> None:
        """Compile and link the library to `target`, beside which other files may be left.

        Logs go to the folder `logs`. `libraries` has the installed wheel's libraries, `sources` is
        llama.cpp's tree of the same archive. Raises SetUpError.
        """


@dataclass(frozen=True)
class NativeLibrary:
    """A library that set-up compiles, and its words."""

    name: str
    """Its module in `scripts`, and what its keys in the stamp begin with."""
    file: str
    title: str
    """Its name in sentences, with the article."""
    duration: str
    """The time that compiling takes, in words."""
    lack: str
    """The warning's first words where the library isn't there."""
    make_build: Callable[[Locked, Mapping[str, str]], Build]
    refusal: Callable[[], str | None]
    """Returns the reason why this machine can't have it, None where it can."""

    def keep_up(self, folder: Path, environ: Mapping[str, str]) -> None:
        """Put the library into the environment in `folder` unless the right one is there; warn on failure.

        A failed build is not tried again by itself until something changes: the module's command tries.
        """
        if self.refusal() is not None:
            return
        try:
            failure = self._keep_up(folder, environ)
        except FAILURES as error:
            failure = str(error)
        if failure:
            say(f"warning: {self.lack}: {failure}")

    def _keep_up(self, folder: Path, environ: Mapping[str, str]) -> str | None:
        """Put the right library there unless it is; return why its build failed, now or before."""
        stamp = environment.read_stamp(folder)
        job = self.build_of(environ, stamp)
        python = folder / "bin/python"
        libraries = libraries_of(python)
        target = libraries / self.file
        key = str(job.folder)
        if stamp.get(self.name) == key:
            failure = stamp.get(f"{self.name}_failure")
            if failure is not None or stamp.get(f"{self.name}_digest") == digest_of(target):
                return failure
        failure = None
        try:
            self.put(self.build(job, libraries, unpack_sources(job.environ, python)), target)
        except FAILURES as error:
            failure = str(error)
        self._note(folder, key, target, failure)
        return failure

    def main(self, description: str, arguments: Sequence[str] | None = None) -> int:
        """Build and install, also where an earlier try failed; return the exit status."""
        parser = argparse.ArgumentParser(prog=f"python3 -m scripts.{self.name}", description=description)
        parser.add_argument("--for", dest="purpose", choices=sorted(environment.PURPOSES), default="run")
        out_help = f"write the library here instead (see CORRAL_{self.name.upper()}_LIBRARY)"
        parser.add_argument("--out", type=Path, help=out_help)
        options = parser.parse_args(arguments)
        refusal = self.refusal()
        if refusal is not None:
            print(refusal, file=sys.stderr)
            return 1
        folder = environment.ROOT / environment.PURPOSES[options.purpose].folder
        python = folder / "bin/python"
        try:
            libraries = libraries_of(python)
            stamp = environment.read_stamp(folder)
            job = self.build_of(os.environ, stamp)
            target = options.out or libraries / self.file
            self.put(self.build(job, libraries, unpack_sources(job.environ, python)), target)
            if stamp and options.out is None:  # set-up leaves it, also one of another compiler than its own
                self._note(folder, stamp.get(self.name) or str(job.folder), target)
        except FAILURES as error:
            print(error, file=sys.stderr)
            return 1
        say(str(target))
        return 0

    def build_of(self, environ: Mapping[str, str], stamp: Mapping[str, str]) -> Build:
        """Return the build for an environment with this stamp. Raises LockError, OSError."""
        args, cxx = environment.build_settings(stamp, environ)
        building = {**environ, "CMAKE_ARGS": args, **({"CXX": cxx} if cxx else {})}
        lock = environment.ROOT / environment.PURPOSES["run"].locks[1]
        return self.make_build(lockfile.one(lockfile.read(lock), environment.BINDINGS), building)

    def build(self, job: Build, libraries: Path, sources: Path) -> Path:
        """Return the library of `job`, compiled unless the cache has it.

        `libraries` has the installed wheel's libraries, `sources` is llama.cpp's tree of the same archive.
        Raises SetUpError.
        """
        folder = job.folder
        with locked(folder):
            built = folder / self.file
            if built.is_file():
                return built
            say(f"compiling {self.title}; {self.duration}, once per machine")
            with tempfile.TemporaryDirectory(prefix="building-", dir=folder) as work:
                partial = Path(work) / self.file
                job.compile(partial, folder, libraries, sources)
                return partial.rename(built)

    def put(self, library: Path, target: Path) -> None:
        """Copy the library to `target` in one step: a process that has the old one keeps it.

        Raises SetUpError.
        """
        partial = target.with_name(f"{target.name}.partial-{os.getpid()}")
        try:
            shutil.copyfile(library, partial)
            with partial.open("rb+") as file:
                os.fsync(file.fileno())  # else a crash of the machine may leave the name without the bytes
            partial.rename(target)
        except OSError as error:
            partial.unlink(missing_ok=True)
            raise SetUpError(f"{self.title} can't be written to {target}: {error}") from None

    def _note(self, folder: Path, key: str, target: Path, failure: str | None = None) -> None:
        """Keep in the stamp what was installed for `key`, or why nothing was."""
        digest = None if failure else digest_of(target)
        outcome = {self.name: key, f"{self.name}_failure": failure, f"{self.name}_digest": digest}
        others = {name: one for name, one in environment.read_stamp(folder).items() if name not in outcome}
        environment.write_stamp(folder, {**others, **{name: one for name, one in outcome.items() if one}})


def libraries_of(python: Path) -> Path:
    """Return the folder of llama.cpp's libraries in the environment of `python`. Raises SetUpError."""
    probe = "import importlib.util as u; s = u.find_spec('llama_cpp'); print(s.origin if s else '')"
    try:
        done = subprocess.run([str(python), "-c", probe], capture_output=True, text=True, check=False)
    except OSError as error:
        raise SetUpError(f"{python} doesn't start: {error}; run `make setup`") from None
    package = done.stdout.strip()
    if done.returncode != 0 or not package:
        raise SetUpError(f"llama-cpp-python isn't installed for {python}; run `make setup`")
    return Path(package).parent / "lib"


def digest_of(library: Path) -> str | None:
    """Return the sha256 of an installed library, None where there is none. Raises OSError."""
    return hashlib.sha256(library.read_bytes()).hexdigest() if library.is_file() else None
