"""docker/check.py: what the image lacks is noticed while it is built."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

from tests.docker.files import DOCKER


@pytest.fixture
def check(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The script, set to a package `chicken` with a module `egg` of its own."""
    spec = importlib.util.spec_from_file_location("docker_check", DOCKER / "check.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    package = tmp_path / "chicken"
    package.mkdir()
    (package / "__init__.py").touch()
    (package / "__main__.py").write_text("raise SystemExit(1)\n")
    (package / "egg.py").touch()
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(module, "PACKAGES", ("chicken",))
    for name in ("chicken", "chicken.egg"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    return module


def test_modules_are_found_by_name_without_main(check: ModuleType) -> None:
    assert [name for name, _ in check.files_of("chicken")] == ["chicken", "chicken.egg"]


@pytest.mark.parametrize("line", ["import not_installed_x", "def f():\n    from not_installed_x.y import z"])
def test_what_is_missing_is_noticed(check: ModuleType, tmp_path: Path, line: str) -> None:
    (tmp_path / "chicken/egg.py").write_text(line + "\n")
    with pytest.raises(ModuleNotFoundError, match="not_installed_x"):
        check.main()


def test_it_looks_into_all_of_the_product(check: ModuleType) -> None:
    found = {name for package in ("models", "quantize", "server") for name, _ in check.files_of(package)}
    assert {
        "models.hub.download",
        "quantize.run.pipeline",
        "server.cli.tune.command",
        "server.worker.worker",
    } <= found
    assert "server.cli.__main__" not in found


def test_the_product_is_whole_without_its_extras() -> None:
    """As in the image, which has none; here they may be installed. What trained the demo model stays out."""
    code = """
import importlib.util, sys
spec = importlib.util.spec_from_file_location("docker_check", sys.argv[1])
check = importlib.util.module_from_spec(spec)
spec.loader.exec_module(check)
sys.modules.update(dict.fromkeys(check.OPTIONAL))
find = check.files_of
check.files_of = lambda package: [
    (name, path) for name, path in find(package) if not name.startswith("models.demo.training")
]
check.main()
"""
    command = [sys.executable, "-c", code, str(DOCKER / "check.py")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
