"""Virtual environments from the locks: `python3 -m scripts.environment --for run|dev|oracle|peer|…`.

`run` is what Corral needs to serve, `dev` adds the tests' and checks' tools. In environments of their own,
`oracle` adds torch and transformers, `peer` what llama-cpp-python's own server needs (for `make bench`),
`lm-eval` lm-evaluation-harness, `cluster` Ray.
Everything is installed with `--require-hashes`, with two exceptions: the llama-cpp-python wheel, which is
compiled here from a hash-checked archive, and torch, whose builds (CPU, CUDA) come from different places
under one version number, so no one list of hashes fits.

Idempotent: a stamp in the environment has its origin, and the same again costs nothing.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from scripts import compiler, lockfile, wheel_cache
from scripts.llama_cpp_wheel import DOWNLOAD_FIX, wheel_for
from scripts.steps import SetUpError, run_step, say

ROOT = Path(__file__).resolve().parent.parent
BINDINGS = "llama-cpp-python"
TORCH = "torch==2.13.0"
STAMP = "corral-stamp.json"
MINIMUM_PYTHON = (3, 11)


@dataclass(frozen=True)
class Purpose:
    """The purpose of an environment: its folder, its locks, and the purposes that it includes."""

    folder: str
    locks: tuple[str, ...]
    includes: tuple[str, ...]
    unlocked: tuple[str, ...] = ()


PURPOSES: Mapping[str, Purpose] = {
    "run": Purpose(".venv", ("requirements-build.lock", "requirements.lock"), ("run",)),
    "dev": Purpose(".venv", ("requirements-build.lock", "requirements-dev.lock"), ("run", "dev")),
    "oracle": Purpose(
        ".venv-oracle",
        ("requirements-build.lock", "requirements-dev.lock", "requirements-oracle.lock"),
        ("run", "dev", "oracle"),
        (TORCH,),
    ),
    "peer": Purpose(
        ".venv-peer",
        ("requirements-build.lock", "requirements-dev.lock", "requirements-peer.lock"),
        ("run", "dev", "peer"),
    ),
    "lm-eval": Purpose(
        ".venv-lm-eval",
        ("requirements-build.lock", "requirements-dev.lock", "requirements-lm-eval.lock"),
        ("run", "dev", "lm-eval"),
    ),
    "cluster": Purpose(
        ".venv-cluster",
        ("requirements-build.lock", "requirements-dev.lock", "requirements-cluster.lock"),
        ("run", "dev", "cluster"),
    ),
}


def fingerprint(contents: Sequence[bytes], python: str, cpu: str, cmake_args: str, cxx: str) -> str:
    """Return a digest of an environment's origin: locks, metadata, interpreter, CPU, build settings."""
    digest = hashlib.sha256()
    for part in (*contents, python.encode(), cpu.encode(), cmake_args.encode(), cxx.encode()):
        digest.update(hashlib.sha256(part).digest())
    return digest.hexdigest()


def build_settings(stamp: Mapping[str, str], environ: Mapping[str, str]) -> tuple[str, str]:
    """Return CMAKE_ARGS and CXX: the caller's, or else what this environment was built with before.

    So `make run` after `CMAKE_ARGS=-DGGML_CUDA=on make setup` keeps the CUDA build; `CMAKE_ARGS= make setup`
    goes back.
    """
    args = environ.get("CMAKE_ARGS", stamp.get("cmake_args", ""))
    cxx = environ.get("CXX", stamp.get("cxx", ""))
    return args, cxx


def read_stamp(folder: Path) -> dict[str, str]:
    """Return the stamp of the environment in `folder`; empty if it was never finished."""
    try:
        stamp = json.loads((folder / STAMP).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return {str(key): str(value) for key, value in stamp.items()} if isinstance(stamp, dict) else {}


def set_up(name: str, environ: Mapping[str, str], *, dependencies_only: bool = False) -> bool:
    """Make the environment for `name`; False if it was there already. Raises SetUpError.

    `dependencies_only` leaves Corral itself out, and so never counts as done.
    """
    purpose = PURPOSES[name]
    folder = ROOT / purpose.folder
    stamp = read_stamp(folder)
    args, cxx = build_settings(stamp, environ)
    cpu = wheel_cache.cpu_identity()
    for made in [
        other for other, one in PURPOSES.items() if name in one.includes and one.folder == purpose.folder
    ]:
        if stamp.get(made) == _fingerprint_of(PURPOSES[made], cpu, args, cxx):
            return False
    building = {**environ, "CMAKE_ARGS": args, **({"CXX": cxx} if cxx else {})}
    settings = {"cmake_args": args, "cxx": cxx}
    if stamp:  # from here on the environment is neither the old one nor the new one
        write_stamp(folder, {name: stamp[name] for name in settings if name in stamp})
    wheel = _install(folder, purpose, building, stamp.get("wheel"))
    if dependencies_only:
        return True
    _pip(folder, building, "--no-deps", "--no-build-isolation", "--editable", str(ROOT))
    write_stamp(folder, {name: _fingerprint_of(purpose, cpu, args, cxx), "wheel": wheel, **settings})
    return True


def write_stamp(folder: Path, stamp: Mapping[str, str]) -> None:
    """Write the stamp of the environment in `folder`, in one step."""
    partial = folder / f"{STAMP}.partial"
    partial.write_text(json.dumps(stamp, indent=1) + "\n", encoding="utf-8")
    partial.rename(folder / STAMP)


def _fingerprint_of(purpose: Purpose, cpu: str, cmake_args: str, cxx: str) -> str:
    names = (*purpose.locks, "pyproject.toml", "models/version.py")
    python = f"{sys.version} {sys.base_prefix} {ROOT}"
    return fingerprint([(ROOT / name).read_bytes() for name in names], python, cpu, cmake_args, cxx)


def _install(folder: Path, purpose: Purpose, environ: Mapping[str, str], installed: str | None) -> str:
    """Install all that Corral needs into a bare interpreter; the work of an earlier try is used.

    `installed` is the path of the wheel of the bindings that is in the environment; returns that of the right
    one.
    """
    compiler.find_compiler(environ)  # the likeliest thing to be missing: known before anything is downloaded
    if not _works(folder / "bin/python"):
        say(f"making {folder.name}")
        installed = None
        fix = "On Debian and Ubuntu the module is a package of its own: apt-get install python3-venv"
        log = folder.with_suffix(".log")
        run_step("making the environment", [sys.executable, "-m", "venv", "--clear", str(folder)], log, fix)
        log.unlink()
    locked = {lock: lockfile.read(ROOT / lock) for lock in purpose.locks}
    for lock, requirements in locked.items():
        wanted = [one for one in requirements if one.name != BINDINGS]
        say(f"installing {lock}: {len(wanted)} packages")
        with tempfile.NamedTemporaryFile("w", suffix=".lock", encoding="utf-8") as file:
            file.writelines(one.text for one in wanted)
            file.flush()
            _pip(folder, environ, "--require-hashes", "--requirement", file.name)
    for requirement in purpose.unlocked:
        say(f"installing {requirement}")
        _pip(folder, environ, requirement)
    wheel = wheel_for(lockfile.one(locked[purpose.locks[1]], BINDINGS), folder / "bin/python", environ)
    if str(wheel) != installed:
        _pip(folder, environ, "--no-deps", "--force-reinstall", str(wheel))
    return str(wheel)


def _pip(folder: Path, environ: Mapping[str, str], *arguments: str) -> None:
    command = [str(folder / "bin/python"), "-m", "pip", "install", "--quiet", "--no-input", *arguments]
    run_step("installing packages", command, folder / "corral-setup.log", DOWNLOAD_FIX, environ=environ)


def _works(python: Path) -> bool:
    """True if this interpreter runs, has pip, and is of the version that we run under."""
    probe = "import sys, pip; print(sys.version)"
    try:
        done = subprocess.run([str(python), "-c", probe], capture_output=True, text=True, check=False)
    except OSError:
        return False
    return done.returncode == 0 and done.stdout.strip() == sys.version


def main() -> int:
    """Run the command line; return the exit status."""
    parser = argparse.ArgumentParser(
        prog="python3 -m scripts.environment", description=__doc__.splitlines()[0]
    )
    parser.add_argument("--for", dest="purpose", choices=sorted(PURPOSES), default="run")
    parser.add_argument(
        "--dependencies-only", action="store_true", help="leave Corral itself out (for a layer of an image)"
    )
    options = parser.parse_args()
    purpose: str = options.purpose
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    if sys.version_info < MINIMUM_PYTHON:
        print(
            f"this is Python {sys.version.split()[0]}; Corral needs 3.11 or newer: make PYTHON=python3.11",
            file=sys.stderr,
        )
        return 1
    try:
        if set_up(purpose, dict(os.environ), dependencies_only=options.dependencies_only):
            say(f"{PURPOSES[purpose].folder} is ready")
        if not options.dependencies_only:
            from scripts import kernels, rpc  # they stand on this module

            for library in (kernels.LIBRARY, rpc.LIBRARY):
                library.keep_up(ROOT / PURPOSES[purpose].folder, dict(os.environ))
    except (SetUpError, compiler.CompilerMissing) as error:
        print(error, file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\ninterrupted; the next set-up goes on from here", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
