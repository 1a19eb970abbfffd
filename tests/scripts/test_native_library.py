"""The libraries that set-up compiles: when again, what a failure leaves behind, and each one's own words."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest

from scripts import environment, kernels, native_library, rpc
from scripts.compiler import find_compiler
from scripts.environment import read_stamp, write_stamp
from scripts.native_library import NativeLibrary
from scripts.steps import SetUpError

LIBRARIES = (kernels.LIBRARY, rpc.LIBRARY)
LACKS = {"kernels": "no matrix kernels", "rpc": "no split models"}

pytestmark = pytest.mark.skipif(not kernels.is_supported(), reason="they are built on Linux")


class KeptUp:
    """An environment of which `keep_up` takes care, with builds that are only counted."""

    def __init__(self, library: NativeLibrary, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.library = library
        self.name = library.name
        self.folder = folder
        self.lib = folder / "lib"
        self.lib.mkdir(parents=True)
        self.target = self.lib / library.file
        self.built = folder / "built.so"
        self.built.write_text("library")
        self.failure: SetUpError | OSError | None = None
        self.n_builds = 0
        monkeypatch.setattr(native_library, "libraries_of", lambda _python: self.lib)
        monkeypatch.setattr(native_library, "unpack_sources", lambda _environ, _python: folder)
        monkeypatch.setattr(NativeLibrary, "build", self.build)
        write_stamp(folder, {"dev": "print", "cmake_args": ""})

    def build(self, *_: object) -> Path:
        self.n_builds += 1
        if self.failure is not None:
            raise self.failure
        return self.built

    def run(self, environ: Mapping[str, str]) -> None:
        self.library.keep_up(
            self.folder, {"PATH": "/usr/local/bin:/usr/bin:/bin", "HOME": str(self.folder), **environ}
        )

    @property
    def warning(self) -> str:
        return f"warning: {LACKS[self.name]}: "

    @property
    def stamp(self) -> dict[str, str]:
        return read_stamp(self.folder)


@pytest.fixture(params=LIBRARIES, ids=lambda library: str(library.name))
def kept_up(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> KeptUp:
    return KeptUp(request.param, tmp_path / "venv", monkeypatch)


def test_the_second_time_costs_nothing_and_what_is_lost_comes_back(kept_up: KeptUp) -> None:
    kept_up.run({})
    assert kept_up.target.read_text() == "library"
    assert set(kept_up.stamp) == {"dev", "cmake_args", kept_up.name, f"{kept_up.name}_digest"}
    kept_up.run({})
    assert kept_up.n_builds == 1
    kept_up.target.unlink()
    kept_up.run({})
    assert kept_up.target.read_text() == "library"
    kept_up.target.write_text("lib")  # cut off
    kept_up.run({})
    assert kept_up.target.read_text() == "library"
    kept_up.run({"CXXFLAGS": "-g"})
    assert kept_up.n_builds == 4


def test_each_keeps_what_the_other_has_noted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for library in LIBRARIES:
        environment_of_one = KeptUp(library, tmp_path / library.name, monkeypatch)
        noted = {
            f"{one.name}{end}": "theirs" for one in LIBRARIES if one != library for end in ("", "_digest")
        }
        write_stamp(environment_of_one.folder, noted)
        environment_of_one.run({})
        assert noted.items() < environment_of_one.stamp.items()


def test_what_was_built_by_hand_is_kept(
    kept_up: KeptUp, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Also where set-up's own compiler failed: that is when one builds by hand with another."""
    purpose = replace(environment.PURPOSES["run"], folder=str(kept_up.folder))
    monkeypatch.setattr(environment, "PURPOSES", {**environment.PURPOSES, "run": purpose})
    main = {"kernels": kernels.main, "rpc": rpc.main}[kept_up.name]
    kept_up.failure = SetUpError("compiling plugin.cpp failed")
    kept_up.run({})
    kept_up.failure = None
    assert main(["--out", str(tmp_path / "elsewhere.so")]) == 0
    assert f"{kept_up.name}_failure" in kept_up.stamp
    kept_up.built.write_text("by hand")
    assert main([]) == 0
    capsys.readouterr()
    kept_up.built.write_text("set-up's own")
    kept_up.run({})
    assert kept_up.target.read_text() == "by hand"
    assert "warning" not in capsys.readouterr().out
    assert kept_up.stamp["dev"] == "print"


def test_a_failed_build_is_a_warning_each_time_and_tried_once(
    kept_up: KeptUp, capsys: pytest.CaptureFixture[str]
) -> None:
    kept_up.failure = SetUpError("compiling plugin.cpp failed")
    for _ in range(2):
        kept_up.run({})
        assert capsys.readouterr().out == f"{kept_up.warning}compiling plugin.cpp failed\n"
    assert kept_up.n_builds == 1
    kept_up.failure = None
    kept_up.run({"CXXFLAGS": "-g"})  # something has changed
    assert kept_up.target.is_file()
    assert f"{kept_up.name}_failure" not in kept_up.stamp


def test_a_full_disk_is_a_warning(kept_up: KeptUp, capsys: pytest.CaptureFixture[str]) -> None:
    kept_up.failure = OSError(28, "No space left on device")
    kept_up.run({})
    assert f"{kept_up.warning}[Errno 28] No space left" in capsys.readouterr().out


def test_no_compiler_is_a_warning(kept_up: KeptUp, capsys: pytest.CaptureFixture[str]) -> None:
    kept_up.run({"PATH": "/none"})
    assert f"{kept_up.warning}no C++ compiler on PATH" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("lock", "expected"), [("llama-cpp-python==1.0\n", "not pinned with a hash"), (None, "No such file")]
)
def test_a_damaged_lock_is_a_warning(
    kept_up: KeptUp,
    lock: str | None,
    expected: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(environment, "ROOT", tmp_path)
    if lock is not None:
        (tmp_path / environment.PURPOSES["run"].locks[1]).write_text(lock)
    kept_up.run({})
    out = capsys.readouterr().out
    assert out.startswith(kept_up.warning)
    assert expected in out
    assert kept_up.library.main("description", []) == 1
    assert expected in capsys.readouterr().err


def test_where_it_is_not_built_nothing_is_tried_and_the_command_says_so(
    kept_up: KeptUp, capsys: pytest.CaptureFixture[str]
) -> None:
    kept_up.library = replace(kept_up.library, refusal=lambda: "not here")
    kept_up.run({})
    assert kept_up.library.main("description", []) == 1
    assert kept_up.n_builds == 0
    assert capsys.readouterr() == ("", "not here\n")


@pytest.mark.parametrize(
    ("library", "title"),
    [(kernels.LIBRARY, "the matrix kernels"), (rpc.LIBRARY, "llama.cpp's RPC back end")],
    ids=["kernels", "rpc"],
)
def test_a_library_is_put_in_one_step(library: NativeLibrary, title: str, tmp_path: Path) -> None:
    (tmp_path / "new").write_text("new")
    target = tmp_path / "target.so"
    target.write_text("old")
    library.put(tmp_path / "new", target)
    assert target.read_text() == "new"
    with pytest.raises(SetUpError, match=rf"^{title} can't be written to .*none/target\.so: "):
        library.put(tmp_path / "new", tmp_path / "none/target.so")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["new", "target.so"]


@pytest.mark.parametrize("library", LIBRARIES, ids=lambda library: str(library.name))
def test_the_key_is_the_wheels_and_the_settings_are_the_stamps(library: NativeLibrary) -> None:
    stamp = {"cmake_args": "-DGGML_CUDA=on", "cxx": find_compiler().path}
    one = library.build_of({"PATH": "/usr/bin:/bin"}, stamp)
    assert one.environ["CMAKE_ARGS"] == "-DGGML_CUDA=on"
    assert one.compiler == [find_compiler().path]
    assert one.requirement.name == environment.BINDINGS
    assert one.folder.name.startswith(f"{library.name}-")


def test_without_an_environment_it_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(SetUpError, match=r"doesn't start: .*; run `make setup`"):
        native_library.libraries_of(tmp_path / "python")
