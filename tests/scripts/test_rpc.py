"""The build of llama.cpp's RPC back end: when again, what a failure leaves behind, and the real one."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from models.rpc.probe import PROTOCOL
from scripts import rpc
from scripts.environment import read_stamp, write_stamp
from scripts.lockfile import Locked
from scripts.rpc import Build, keep_up
from scripts.sources import unpack_sources
from scripts.steps import SetUpError
from tests.rpc_library import rpc_library

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="it is built on Linux")
PATHS = {"PATH": "/usr/local/bin:/usr/bin:/bin"}


class KeptUp:
    """An environment of which `keep_up` takes care, with builds that are only counted."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.folder = folder
        self.target = folder / rpc.LIBRARY
        self.failure: SetUpError | None = None
        self.n_builds = 0
        folder.mkdir()
        (folder / "built.so").write_text("library")
        monkeypatch.setattr(rpc, "libraries_of", lambda _python: folder)
        monkeypatch.setattr(rpc, "unpack_sources", lambda _environ, _python: folder)
        monkeypatch.setattr(rpc, "build", self.build)
        write_stamp(folder, {"dev": "print", "kernels": "theirs"})

    def build(self, *_: object) -> Path:
        self.n_builds += 1
        if self.failure is not None:
            raise self.failure
        return self.folder / "built.so"

    def run(self, environ: Mapping[str, str] = PATHS) -> None:
        keep_up(self.folder, {**PATHS, "HOME": str(self.folder), **environ})


@pytest.fixture
def kept_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> KeptUp:
    return KeptUp(tmp_path / "venv", monkeypatch)


def test_the_second_time_costs_nothing_and_what_is_lost_comes_back(kept_up: KeptUp) -> None:
    kept_up.run()
    kept_up.run()
    assert (kept_up.n_builds, kept_up.target.read_text()) == (1, "library")
    kept_up.target.unlink()
    kept_up.run()
    kept_up.run({"CXXFLAGS": "-g"})
    assert (kept_up.n_builds, kept_up.target.read_text()) == (3, "library")
    stamp = read_stamp(kept_up.folder)
    assert (stamp["dev"], stamp["kernels"]) == ("print", "theirs")


def test_a_failed_build_is_a_warning_each_time_and_tried_once(
    kept_up: KeptUp, capsys: pytest.CaptureFixture[str]
) -> None:
    kept_up.failure = SetUpError("no compiler")
    for _ in range(2):
        kept_up.run()
        assert "warning: no split models: no compiler" in capsys.readouterr().out
    assert kept_up.n_builds == 1


def test_other_flags_are_another_build(tmp_path: Path) -> None:
    requirement = Locked("llama-cpp-python", "0.3.36", ("00",), "text")
    environ = {**PATHS, "XDG_CACHE_HOME": str(tmp_path)}
    builds = [{}, {"CXXFLAGS": "-g"}, {"CMAKE_ARGS": "-DGGML_CUDA=ON"}]
    assert len({Build(requirement, {**environ, **one}).folder for one in builds}) == 3


def test_the_real_one_speaks_the_version_that_is_asked_for() -> None:
    assert b"ggml_backend_rpc_start_server" in rpc_library().read_bytes()
    header = unpack_sources({}) / "ggml/include/ggml-rpc.h"
    for name, number in zip(("MAJOR", "MINOR", "PATCH"), PROTOCOL, strict=True):
        assert f"#define RPC_PROTO_{name}_VERSION    {number}\n" in header.read_text()
