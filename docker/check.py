"""A check that every module of Corral and all that these import, inside functions too, is there.

Run in the build stage of the Dockerfile: what is missing fails the build. And Python's bytecode is written,
which the image's user couldn't: without it each process would compile all of this again at its start.
"""

from __future__ import annotations

import ast
import importlib
import importlib.util
from collections.abc import Iterator
from pathlib import Path

PACKAGES = ("models", "quantize", "server")
OPTIONAL = ("opentelemetry.exporter", "opentelemetry.proto", "opentelemetry.sdk", "ray")
"""Packages of extras, which the image may lack: `corral[tracing]` and `corral[cluster]`."""


def files_of(package: str) -> Iterator[tuple[str, Path]]:
    """Yield name and file of each module of the package but `__main__`. Raises ImportError for no package."""
    module = importlib.import_module(package)
    root = Path(str(module.__file__)).parent
    for path in sorted(root.rglob("*.py")):
        parts = path.relative_to(root.parent).with_suffix("").parts
        if parts[-1] != "__main__":
            yield ".".join(parts[:-1] if parts[-1] == "__init__" else parts), path


def imports_of(source: str) -> Iterator[str]:
    """Yield the modules that this code names in import statements."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module


def is_optional(module: str) -> bool:
    """Return True for a module of an extra."""
    return any(module == package or module.startswith(f"{package}.") for package in OPTIONAL)


def check(module: str) -> None:
    """Raise ImportError for a module that isn't there, unless it is of an extra, or stands on one."""
    try:
        importlib.import_module(module)
    except ModuleNotFoundError as error:
        if not is_optional(error.name or ""):
            raise


def main() -> None:
    """Raise ImportError for a missing module, AssertionError if llama.cpp finds nothing to compute on."""
    modules: set[str] = set()
    for package in PACKAGES:
        for name, path in files_of(package):
            modules |= {name, *imports_of(path.read_text(encoding="utf-8"))}
    for name in sorted(modules):
        check(name)

    from models.llamacpp.library import devices

    assert devices(), "no back end was installed"


if __name__ == "__main__":
    main()
