"""What becomes of a library that is missing, damaged, of another build or for another CPU."""

from __future__ import annotations

import platform
import subprocess
from pathlib import Path

import pytest

from models.doctor import Status
from models.errors import LlamaCppError
from models.llamacpp.kernel_library import KernelLibrary, Place, default_path
from models.llamacpp.quantization.ggml_types import GGML_TYPES, type_name
from server.kernels import doctor
from server.kernels.check import find_fault
from server.kernels.front import BUILD_FIX, open_kernels, why_none_is_chosen
from server.kernels.outlook import LIBRARY_VARIABLE, SET_VARIABLE
from server.kernels.samples import random_columns, random_weights
from tests.matrix_kernels import with_changes


def altered(path: Path, folder: Path, *changes: tuple[bytes, bytes]) -> dict[str, str]:
    """The environment in which a copy of the library with other bytes is used."""
    copy = folder / "altered.so"
    copy.write_bytes(with_changes(path.read_bytes(), *changes))
    return {LIBRARY_VARIABLE: str(copy)}


def test_the_library_passes_and_says_what_it_computes(library: KernelLibrary, library_path: Path) -> None:
    kernels = open_kernels({LIBRARY_VARIABLE: str(library_path)})
    assert kernels.library is not None
    assert kernels.set_name == library.sets()[0] or kernels.set_name in library.sets()
    assert {"Q4_K", "Q5_K", "Q6_K"} <= set(kernels.type_names)
    assert (kernels.faults, kernels.reason, kernels.fix) == ((), "", "")


def test_a_missing_library_is_said_with_the_way_to_build_it(tmp_path: Path) -> None:
    beside = open_kernels({})
    if not default_path().is_file():
        assert beside.library is None
        assert "libcorral_kernels.so isn't there" in beside.reason
        assert str(default_path()) in beside.reason
        assert beside.fix == BUILD_FIX
    named = open_kernels({LIBRARY_VARIABLE: str(tmp_path / "none.so")})
    assert named.library is None
    assert "none.so" in named.reason
    assert named.fix.startswith(f"unset {LIBRARY_VARIABLE}")


def test_an_unresolved_symbol_names_itself(library_path: Path, tmp_path: Path) -> None:
    kernels = open_kernels(altered(library_path, tmp_path, (b"\0ggml_barrier\0", b"\0ggml_barrels\0")))
    assert kernels.library is None
    assert "undefined symbol: ggml_barrels" in kernels.reason
    assert kernels.fix.startswith(f"unset {LIBRARY_VARIABLE}, or run `python3 -m scripts.kernels --out /")


def test_a_library_that_lacks_a_function_of_ours_names_it(tmp_path: Path) -> None:
    older = tmp_path / "older.so"
    source = tmp_path / "older.c"
    source.write_text("const char *corral_bindings_version(void) { return 0; }\n")
    subprocess.run(["cc", "-shared", "-fPIC", "-o", str(older), str(source)], check=True)
    kernels = open_kernels({LIBRARY_VARIABLE: str(older)})
    assert kernels.library is None
    assert "corral_ggml_version" in kernels.reason


@pytest.mark.parametrize("content", [b"", b"no library", b"\x7fELF" + bytes(60)])
def test_a_file_that_is_no_library_is_no_reason_to_die(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "some.so"
    path.write_bytes(content)
    kernels = open_kernels({LIBRARY_VARIABLE: str(path)})
    assert kernels.library is None
    assert "some.so is no shared library" in kernels.reason


def test_a_library_that_was_cut_off_is_not_mapped(library_path: Path, tmp_path: Path) -> None:
    """The system would map it, and the process die of SIGBUS."""
    path = tmp_path / "some.so"
    path.write_bytes(library_path.read_bytes()[:-5000])
    kernels = open_kernels({LIBRARY_VARIABLE: str(path)})
    assert kernels.library is None
    assert "some.so isn't whole: it has " in kernels.reason


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ((b"\x000.3.36\0", b"\x000.3.35\0"), "compiled for llama-cpp-python 0.3.35, and this is"),
        ((b"\x000.25.3\0", b"\x000.25.2\0"), "compiled for ggml 0.25.2, and this is 0.25.3"),
        (
            (b"\0ggml_compute_params.wdata\0", b"\0ggml_compute_params.wdat2\0"),
            "it has ggml_compute_params.wdat2 at 16, and llama.cpp at None",
        ),
    ],
)
def test_a_library_of_another_build_is_left_alone(
    change: tuple[bytes, bytes], said: str, library_path: Path, tmp_path: Path
) -> None:
    kernels = open_kernels(altered(library_path, tmp_path, change))
    assert kernels.library is None
    assert "is of another build" in kernels.reason or "it has" in kernels.reason
    if "wdat2" not in said:
        assert said in kernels.reason
    assert "python3 -m scripts.kernels --out" in kernels.fix


def test_a_name_that_is_none_of_a_set_is_refused(library: KernelLibrary, library_path: Path) -> None:
    sets = library.sets()
    present = [name for name in sets if library.choose(name) is not None]
    for name in ("of-another-cpu", sets[0].upper(), f"{sets[0]},{sets[-1]}"):
        kernels = open_kernels({LIBRARY_VARIABLE: str(library_path), SET_VARIABLE: name})
        assert kernels.library is None
        assert kernels.reason == (
            f"the instruction set '{name}' (CORRAL_KERNELS_SET) isn't one of {', '.join(sets)}"
        )
        assert kernels.fix == (
            f"unset CORRAL_KERNELS_SET, or name one that this CPU has: {', '.join(present)}"
        )


def test_a_set_that_this_cpu_lacks_is_not_run(library: KernelLibrary, library_path: Path) -> None:
    lacking = [name for name in library.sets() if library.choose(name) is None]
    if not lacking:
        pytest.skip("this CPU has all of the instruction sets")
    kernels = open_kernels({LIBRARY_VARIABLE: str(library_path), SET_VARIABLE: lacking[0]})
    assert kernels.library is None
    assert kernels.reason == f"the instruction set '{lacking[0]}' (CORRAL_KERNELS_SET) isn't in this CPU"


@pytest.mark.parametrize("value", ["", "  "])
def test_an_empty_variable_is_none(value: str, library: KernelLibrary, library_path: Path) -> None:
    env = {LIBRARY_VARIABLE: str(library_path), SET_VARIABLE: value}
    assert open_kernels(env).set_name == library.choose()
    beside = open_kernels({LIBRARY_VARIABLE: value})
    assert beside == open_kernels({}) or beside.library is not None


def test_a_cpu_without_any_of_the_sets_is_no_fault_to_mend(
    library_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(KernelLibrary, "choose", lambda _library, _name: None)
    kernels = open_kernels({LIBRARY_VARIABLE: str(library_path)})
    assert kernels.library is None
    assert kernels.reason.startswith("this CPU has no instruction set that Corral's are written for (")
    assert kernels.fix == ""


def test_a_set_that_no_processor_has_timed_is_used_by_its_name_alone() -> None:
    sets = ("neon-i8mm", "neon-dotprod")
    assert why_none_is_chosen(sets, ("neon-dotprod",)) == (
        "Corral's for this CPU (neon-dotprod) have only run in emulation yet;"
        " CORRAL_KERNELS_SET=neon-dotprod tries them"
    )
    assert why_none_is_chosen(sets, ()).endswith("written for (neon-i8mm, neon-dotprod)")


def test_each_set_of_this_cpu_can_be_named(library: KernelLibrary, library_path: Path) -> None:
    for name in library.sets():
        if library.choose(name) is None:
            continue
        kernels = open_kernels({LIBRARY_VARIABLE: str(library_path), SET_VARIABLE: name})
        assert kernels.set_name == name


def test_one_format_that_fails_is_left_to_ggml_and_named(library_path: Path) -> None:
    def find_one(library: KernelLibrary, ggml_type: int) -> str | None:
        return "its error is 1" if type_name(ggml_type) == "Q5_K" else find_fault(library, ggml_type)

    kernels = open_kernels({LIBRARY_VARIABLE: str(library_path)}, find_one)
    assert "Q5_K" not in kernels.type_names
    assert "Q4_K" in kernels.type_names
    assert kernels.faults == ("Q5_K is left to llama.cpp: its error is 1",)
    assert "CXX=clang++" in kernels.fix
    none = open_kernels({LIBRARY_VARIABLE: str(library_path)}, lambda _library, _type: "wrong")
    assert none.library is None
    assert "Q4_K is left to llama.cpp: wrong" in none.reason


def test_a_format_that_ggml_multiplies_faster_is_left_to_it(library_path: Path) -> None:
    def find_loss(_library: KernelLibrary, ggml_type: int) -> str | None:
        return "here its own take 0.50 of the time" if type_name(ggml_type) == "Q6_K" else None

    env = {LIBRARY_VARIABLE: str(library_path)}
    kernels = open_kernels(env, find_loss=find_loss)
    assert kernels.library is not None
    assert "Q6_K" not in kernels.type_names
    left = GGML_TYPES["Q6_K"]
    products = kernels.library.multiply(
        Place.PANELS, left, random_weights(left, 256, 16), random_columns(256, 1)
    )
    assert products is None
    assert kernels.losses == ("Q6_K is left to llama.cpp: here its own take 0.50 of the time",)
    assert kernels.fix == ""
    facts = doctor.KernelFacts("avx2", ("Q4_K",), (), kernels.losses, "", "")
    assert (doctor.judge(facts).status, "Q6_K is left" in doctor.judge(facts).fact) == (Status.OK, True)
    assert open_kernels(env, find_loss=lambda _library, _type: "slower").library is None


def test_a_library_that_is_not_there_is_an_error_to_who_opens_it(tmp_path: Path) -> None:
    with pytest.raises(LlamaCppError, match="isn't there"):
        KernelLibrary(tmp_path / "none.so")


def test_doctor_says_what_is_used_and_why_not(
    library: KernelLibrary, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = doctor.check()
    assert found.status is Status.OK
    names = sorted(type_name(one) for one in library.formats() if library.has_kernels(one))
    assert f"checked against ggml's: {', '.join(names)}" in found.fact
    monkeypatch.setenv(LIBRARY_VARIABLE, str(tmp_path / "none.so"))
    found = doctor.check()
    assert found.status is Status.WARNING
    assert found.fact.startswith("llama.cpp's own are used: libcorral_kernels.so isn't there")
    assert found.fix is not None


def test_a_backend_that_was_loaded_for_itself_is_found(
    library: KernelLibrary, library_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In builds with a CPU backend per generation the library can't name the one that it needs."""
    change = (b"\0libggml-cpu.so.0\0", b"\0libm.so.6".ljust(18, b"\0"))
    for name, value in altered(library_path, tmp_path, change).items():
        monkeypatch.setenv(name, value)
    found = doctor.check()
    assert found.status is Status.OK, found
    assert library.sets()


def test_doctor_survives_kernels_that_crash() -> None:
    found = doctor.check(["sh", "-c", "kill -ILL $$"])
    assert found.status is Status.WARNING
    assert "the check of Corral's died of SIGILL" in found.fact
    assert found.fix is not None


def test_another_cpu_is_no_fault() -> None:
    facts = doctor.KernelFacts("", (), (), (), "this CPU has no instruction set", "")
    assert doctor.judge(facts).status is Status.OK
    facts = doctor.KernelFacts(
        "avx2", ("Q4_K",), ("Q5_K is left to llama.cpp: x",), (), "", "another compiler"
    )
    assert doctor.judge(facts).status is Status.WARNING
    assert platform.system() == "Linux"
