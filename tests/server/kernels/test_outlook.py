from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from models.doctor.tiny_model import write_tiny_gguf
from models.gguf.info import GGUFInfo, read_gguf_info
from models.llamacpp.kernel_library import KernelLibrary, default_path
from models.llamacpp.quantization.ggml_types import type_name
from models.machine.kernel_file import installed_file
from server.kernels import outlook
from server.kernels.outlook import FLAGS, LIBRARY_VARIABLE, TYPES, expects_panels, is_usable, panel_share
from server.serve_options import ServeOptions


@pytest.fixture(scope="module")
def info(tmp_path_factory: pytest.TempPathFactory) -> GGUFInfo:
    return read_gguf_info(write_tiny_gguf(tmp_path_factory.mktemp("outlook") / "tiny.gguf"))


def of_type(info: GGUFInfo, type_: str, *names: str) -> GGUFInfo:
    """The header with these tensors of another type, all without names."""
    tensors = [replace(one, type=type_) if not names or one.name in names else one for one in info.tensors]
    return replace(info, tensors=tuple(tensors))


def test_the_share_of_the_kernels_is_by_bytes_of_matrices(info: GGUFInfo) -> None:
    assert panel_share(info, ()) == 0.0
    assert panel_share(info, ("F32",)) == 1.0
    assert panel_share(info, ("Q4_K", "Q6_K")) == 0.0
    assert 0 < panel_share(of_type(info, "Q6_K", "output.weight"), ("Q6_K",)) < 1
    assert panel_share(of_type(info, "Q6_K", "token_embd.weight"), ("F32",)) == 1.0  # it isn't multiplied


def test_the_types_are_those_of_the_set_that_is_used_by_itself(library: KernelLibrary) -> None:
    assert {type_name(one) for one in library.formats() if library.has_kernels(one)} == TYPES


@pytest.mark.usefixtures("library")
def test_the_processor_is_judged_as_the_library_judges_it(library_path: Path) -> None:
    """The fixture skips where the library finds none of its sets."""
    assert is_usable(str(library_path), "", outlook.cpu_flags())


def test_the_file_is_looked_for_where_it_is_loaded_from() -> None:
    assert installed_file() == default_path()


def test_panels_are_expected_where_library_processor_settings_and_types_agree(
    info: GGUFInfo, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(outlook, "cpu_flags", lambda: FLAGS)
    file, quantized = tmp_path / "lib.so", of_type(info, "Q4_K")
    env, options = {LIBRARY_VARIABLE: str(file)}, ServeOptions()
    assert not expects_panels(quantized, options, env)  # it isn't there
    file.touch()
    assert expects_panels(quantized, options, env)
    assert expects_panels(quantized, replace(options, kernels="on"), env)
    assert expects_panels(info, options, env)  # in floats
    assert not expects_panels(of_type(info, "Q2_K"), options, env)
    assert not expects_panels(quantized, replace(options, kernels="off"), env)
    assert not expects_panels(quantized, replace(options, use_extra_bufts=False), env)
    monkeypatch.setattr(outlook, "cpu_flags", lambda: FLAGS - {"avx2"})
    assert not expects_panels(quantized, options, env)
    assert expects_panels(quantized, options, {**env, outlook.SET_VARIABLE: "neon-i8mm"})


def test_elsewhere_than_on_linux_there_are_none(tmp_path: Path) -> None:
    file = tmp_path / "lib.so"
    file.touch()
    assert is_usable(str(file), "", FLAGS, "linux")
    assert not is_usable(str(file), "", FLAGS, "darwin")
