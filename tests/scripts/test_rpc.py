"""The build of llama.cpp's RPC back end: when it is another one, and the real one."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from models.rpc.probe import PROTOCOL
from scripts.lockfile import Locked
from scripts.rpc import LIBRARY, Build
from scripts.sources import unpack_sources
from tests.rpc_library import rpc_library

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="it is built on Linux")
PATHS = {"PATH": "/usr/local/bin:/usr/bin:/bin"}


def test_other_flags_are_another_build(tmp_path: Path) -> None:
    requirement = Locked("llama-cpp-python", "0.3.36", ("00",), "text")
    environ = {**PATHS, "XDG_CACHE_HOME": str(tmp_path)}
    builds = [{}, {"CXXFLAGS": "-g"}, {"CMAKE_ARGS": "-DGGML_CUDA=ON"}]
    assert len({Build(requirement, {**environ, **one}).folder for one in builds}) == 3


def test_where_it_is_not_built_it_names_the_system(monkeypatch: pytest.MonkeyPatch) -> None:
    assert LIBRARY.refusal() is None
    monkeypatch.setattr(sys, "platform", "darwin")
    assert LIBRARY.refusal() == "no split models on darwin"


def test_the_real_one_speaks_the_version_that_is_asked_for() -> None:
    assert b"ggml_backend_rpc_start_server" in rpc_library().read_bytes()
    header = unpack_sources({}) / "ggml/include/ggml-rpc.h"
    for name, number in zip(("MAJOR", "MINOR", "PATCH"), PROTOCOL, strict=True):
        assert f"#define RPC_PROTO_{name}_VERSION    {number}\n" in header.read_text()
