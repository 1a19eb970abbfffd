"""What the product imports is declared, and what is declared is used; README.md gives the reason for each."""

from __future__ import annotations

import ast
import re
import sys
import tomllib
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("models", "quantize", "server")
TRAINING = ROOT / "models/demo/training"
MODULES = {
    "huggingface-hub": "huggingface_hub",
    "llama-cpp-python": "llama_cpp",
    "ml-dtypes": "ml_dtypes",
    "opentelemetry-api": "opentelemetry",
    "pillow": "PIL",
    "prometheus-client": "prometheus_client",
    "prompt-toolkit": "prompt_toolkit",
    "pydantic-core": "pydantic_core",
    "python-multipart": "python_multipart",
    "pyyaml": "yaml",
}


@cache
def imported() -> dict[str, str]:
    """Third-party modules that the product imports, each with one file that does."""
    found: dict[str, str] = {}
    for path in (path for package in PACKAGES for path in (ROOT / package).rglob("*.py")):
        if path.is_relative_to(TRAINING):
            continue
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names: list[str] = []
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom) and node.module:
                names = [node.module]
            elif isinstance(node, ast.Call) and is_import_module(node.func):
                names = [
                    one.value
                    for one in node.args
                    if isinstance(one, ast.Constant) and isinstance(one.value, str)
                ]
            for name in names:
                found.setdefault(name.split(".")[0], str(path.relative_to(ROOT)))
    return {name: path for name, path in found.items() if name not in {*sys.stdlib_module_names, *PACKAGES}}


def is_import_module(function: ast.expr) -> bool:
    return (
        isinstance(function, ast.Attribute)
        and function.attr == "import_module"
        and ast.unparse(function) == "importlib.import_module"
    )


def declared() -> dict[str, str]:
    """The run-time dependencies: module and distribution."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    names = [re.split(r"[<>=!~ \[;]", one)[0] for one in project["dependencies"]]
    return {MODULES.get(name, name): name for name in names}


OPTIONAL = {"ray": "cluster"}
"""Modules that an extra brings, and nothing else imports but where it is asked for."""


def test_what_is_imported_is_declared() -> None:
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    for module, extra in OPTIONAL.items():
        assert any(one.startswith(module) for one in extras[extra])
    missing = {
        name: path for name, path in imported().items() if name not in declared() and name not in OPTIONAL
    }
    assert not missing


def test_what_is_declared_is_imported() -> None:
    assert set(declared()) <= set(imported())


@pytest.mark.parametrize("distribution", sorted(declared().values()))
def test_readme_gives_a_reason(distribution: str) -> None:
    text = (ROOT / "README.md").read_text()
    table = text[text.index("## Dependencies") :]
    rows = [line for line in table.splitlines() if line.startswith("| ")]
    (row,) = (row for row in rows if distribution in re.split(r"[ ,|]+", row.split("|")[1]))
    assert len(row.split("|")[2].strip()) > 10
