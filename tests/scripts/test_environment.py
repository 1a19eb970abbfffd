"""When an environment is made anew, and what a user's build settings become."""

from __future__ import annotations

from pathlib import Path

import pytest

from scripts import environment
from scripts.environment import PURPOSES, STAMP, build_settings, fingerprint, read_stamp
from scripts.steps import SetUpError


def test_a_fingerprint_covers_everything() -> None:
    same = fingerprint([b"a", b"b"], "3.11.7", "cpu", "-DX=1", "g++")
    assert fingerprint([b"a", b"b"], "3.11.7", "cpu", "-DX=1", "g++") == same
    others = [
        fingerprint([b"a", b"c"], "3.11.7", "cpu", "-DX=1", "g++"),
        fingerprint([b"ab", b""], "3.11.7", "cpu", "-DX=1", "g++"),
        fingerprint([b"a", b"b"], "3.12.1", "cpu", "-DX=1", "g++"),
        fingerprint([b"a", b"b"], "3.11.7", "other", "-DX=1", "g++"),
        fingerprint([b"a", b"b"], "3.11.7", "cpu", "", "g++"),
        fingerprint([b"a", b"b"], "3.11.7", "cpu", "-DX=1", "clang++"),
    ]
    assert len({same, *others}) == 7


def test_a_gpu_build_stays_until_another_is_asked_for() -> None:
    stamp = {"cmake_args": "-DGGML_CUDA=on", "cxx": "clang++"}
    assert build_settings(stamp, {}) == ("-DGGML_CUDA=on", "clang++")
    assert build_settings(stamp, {"CMAKE_ARGS": ""}) == ("", "clang++")
    assert build_settings(stamp, {"CMAKE_ARGS": "-DGGML_VULKAN=on", "CXX": "g++"}) == (
        "-DGGML_VULKAN=on",
        "g++",
    )
    assert build_settings({}, {}) == ("", "")


@pytest.mark.parametrize("content", [None, "", "{", "[1]", '"text"'])
def test_an_unfinished_environment_has_no_stamp(tmp_path: Path, content: str | None) -> None:
    if content is not None:
        (tmp_path / STAMP).write_text(content)
    assert read_stamp(tmp_path) == {}


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[str]:
    """A project root in a temporary folder, where installing only notes what it was asked for."""
    noted: list[str] = []

    def install(
        folder: Path, purpose: environment.Purpose, environ: dict[str, str], installed: str | None
    ) -> str:
        folder.mkdir(exist_ok=True)
        noted.append(f"{purpose.locks[-1]} {environ['CMAKE_ARGS']}".strip())
        return "wheel"

    for purpose in PURPOSES.values():
        for name in (*purpose.locks, "pyproject.toml"):
            (tmp_path / name).write_text(name)
    (tmp_path / "models").mkdir()
    (tmp_path / "models/version.py").write_text("")
    monkeypatch.setattr(environment, "ROOT", tmp_path)
    monkeypatch.setattr(environment, "_install", install)
    monkeypatch.setattr(environment, "_pip", lambda *_: None)
    return noted


def test_the_second_set_up_costs_nothing(calls: list[str]) -> None:
    assert environment.set_up("run", {})
    assert not environment.set_up("run", {})
    assert calls == ["requirements.lock"]


def test_the_environment_for_development_serves_too(calls: list[str]) -> None:
    environment.set_up("dev", {})
    assert not environment.set_up("run", {})
    assert environment.set_up("oracle", {})
    assert calls == ["requirements-dev.lock", "requirements-oracle.lock"]


def test_the_environment_for_running_lacks_the_tests_tools(calls: list[str]) -> None:
    environment.set_up("run", {})
    assert environment.set_up("dev", {})
    assert calls == ["requirements.lock", "requirements-dev.lock"]


def test_a_changed_lock_or_setting_is_installed(calls: list[str], tmp_path: Path) -> None:
    environment.set_up("run", {})
    (tmp_path / "requirements.lock").write_text("changed")
    assert environment.set_up("run", {})
    assert environment.set_up("run", {"CMAKE_ARGS": "-DGGML_CUDA=on"})
    assert not environment.set_up("run", {})
    (tmp_path / "requirements.lock").write_text("changed again")
    assert environment.set_up("run", {})
    assert calls[-2:] == ["requirements.lock -DGGML_CUDA=on", "requirements.lock -DGGML_CUDA=on"]


def test_a_failed_set_up_is_tried_again(
    calls: list[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def fail(*_: object) -> None:
        raise SetUpError("no network")

    environment.set_up("run", {"CMAKE_ARGS": "-DGGML_CUDA=on"})
    before = (tmp_path / "requirements.lock").read_text()
    (tmp_path / "requirements.lock").write_text("changed")
    with monkeypatch.context() as patch:
        patch.setattr(environment, "_install", fail)
        with pytest.raises(SetUpError):
            environment.set_up("run", {})
    (tmp_path / "requirements.lock").write_text(before)
    assert environment.set_up("run", {}), "half of the change may be installed"
    assert calls == ["requirements.lock -DGGML_CUDA=on"] * 2


def test_a_build_that_failed_is_not_what_is_built_next(
    calls: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise SetUpError("no CUDA toolkit")

    environment.set_up("run", {})
    with monkeypatch.context() as patch:
        patch.setattr(environment, "_install", fail)
        with pytest.raises(SetUpError):
            environment.set_up("run", {"CMAKE_ARGS": "-DGGML_CUDA=on"})
    assert environment.set_up("run", {})
    assert calls == ["requirements.lock"] * 2


def test_dependencies_alone_are_no_finished_environment(calls: list[str]) -> None:
    assert environment.set_up("run", {}, dependencies_only=True)
    assert environment.set_up("run", {})
    assert len(calls) == 2
