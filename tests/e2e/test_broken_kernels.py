"""The product where the matrix kernels' library is damaged, of another build, wrong or crashes.

By itself it answers as without the library and says why; asked for the kernels, it refuses with the reason.
"""

from __future__ import annotations

import struct
import subprocess
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import pytest

from models.doctor import Status
from server.kernels import doctor
from server.kernels.outlook import LIBRARY_VARIABLE, SET_VARIABLE
from tests.e2e.running import corral, environment, free_port, serving
from tests.e2e.test_demo import ask
from tests.matrix_kernels import built_library, with_changes

pytestmark = [pytest.mark.e2e, pytest.mark.model]

MODEL = "demo:Q4_K_M"
BUILD = "python3 -m scripts.kernels --out"
ANOTHER_COMPILER = "CXX=clang++ python3 -m scripts.kernels"


def cut_off(path: Path) -> None:
    whole = built_library().read_bytes()
    path.write_bytes(whole[: len(whole) // 2])


def garbage(path: Path) -> None:
    path.write_text("no library\n")


def of_another_wheel(path: Path) -> None:
    path.write_bytes(with_changes(built_library().read_bytes(), (b"\x000.3.36\0", b"\x000.3.35\0")))


def inexact(path: Path) -> None:
    """Activations become numbers up to 3 instead of 127: of the right size, and too rough."""
    whole = built_library().read_bytes()
    most = struct.pack("<f", 127.0)
    if whole.count(most) != 1:
        pytest.skip("this compiler has the number elsewhere")
    path.write_bytes(with_changes(whole, (most, struct.pack("<f", 3.0))))


def crashing(path: Path) -> None:
    source = path.with_suffix(".c")
    source.write_text(
        "#include <signal.h>\n__attribute__((constructor)) static void crash(void) { raise(SIGILL); }\n"
    )
    subprocess.run(["cc", "-shared", "-fPIC", "-o", str(path), str(source)], check=True)


def whole(path: Path) -> None:
    path.write_bytes(built_library().read_bytes())


@dataclass(frozen=True)
class Case:
    """A library, what `/props`, the log and `corral doctor` say of it, and the remedy that they name."""

    make: Callable[[Path], None]
    reason: str
    fix: str
    doctor_says: str = ""
    on_says: str = ""
    variables: Mapping[str, str] = field(default_factory=dict)


CASES = [
    Case(cut_off, "isn't whole: it has", BUILD),
    Case(garbage, "is no shared library", BUILD),
    Case(of_another_wheel, "it was compiled for llama-cpp-python 0.3.35, and this is 0.3.36", BUILD),
    Case(
        inexact,
        "none of its matrices is in the CPU's memory and of a type with kernels (BF16, F16, F32);",
        ANOTHER_COMPILER,
        doctor_says="Q4_K is left to llama.cpp: its error is",
        on_says="Q4_K is left to llama.cpp: its error is",
    ),
    Case(
        crashing,
        "with Corral's the worker for model demo died while loading it (SIGILL)",
        ANOTHER_COMPILER,
        doctor_says="the check of Corral's died of SIGILL",
        on_says="died while loading it (SIGILL",
    ),
    Case(
        whole,
        "the instruction set 'of-another-cpu' (CORRAL_KERNELS_SET) isn't one of",
        "unset CORRAL_KERNELS_SET",
        variables={SET_VARIABLE: "of-another-cpu"},
    ),
]


def variables_of(case: Case, folder: Path) -> dict[str, str]:
    """Write the library and return the variables by which it is used."""
    library = folder / "libcorral_kernels.so"
    case.make(library)
    return {LIBRARY_VARIABLE: str(library), **case.variables}


def name_of(case: Case) -> str:
    return case.make.__name__


FEW = (inexact, crashing)
"""Tests that start a server try these; the others are told apart before it matters."""
SERVED = [
    pytest.param(case, marks=() if case.make in FEW else pytest.mark.thorough, id=name_of(case))
    for case in CASES
]


@pytest.mark.parametrize("case", SERVED)
def test_a_server_does_without_and_says_why(case: Case, tmp_path: Path, home: Path) -> None:
    variables = variables_of(case, tmp_path)
    log = home / f"kernels-{case.make.__name__}.log"
    with serving(MODEL, env={**environment(home), **variables}, log=log) as server:
        assert ask(server, "What is the capital of France?", MODEL) == "The capital of France is Paris."
        used = httpx.get(f"{server.url}/props").json()["kernels"]
    assert (used["by"], used["n_matrices"]) == ("llama.cpp", 0)
    assert case.reason in used["reason"]
    assert case.reason in log.read_text()


@pytest.mark.parametrize("case", SERVED)
def test_on_refuses_with_the_reason_and_the_remedy(case: Case, tmp_path: Path, home: Path) -> None:
    env = {**environment(home), **variables_of(case, tmp_path)}
    found = corral("serve", MODEL, "--kernels", "on", "--port", str(free_port()), env=env)
    assert found.returncode == 1
    assert (case.on_says or case.reason) in found.stderr
    last = found.stderr.splitlines()[-1]
    if case.make is crashing:
        assert "kernels is on; set to auto, the model is loaded without them where they crash" in last
    else:
        assert case.fix in last
        assert "set kernels to auto" in last


@pytest.mark.parametrize("case", CASES, ids=name_of)
def test_doctor_names_the_reason_and_the_remedy(
    case: Case, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in variables_of(case, tmp_path).items():
        monkeypatch.setenv(name, value)
    found = doctor.check()
    assert found.status is Status.WARNING
    assert (case.doctor_says or case.reason) in found.fact
    assert found.fix is not None
    assert case.fix in found.fix


def test_off_does_not_even_look(home: Path, tmp_path: Path) -> None:
    """Not at a library that would end the process."""
    library = tmp_path / "libcorral_kernels.so"
    crashing(library)
    env = {**environment(home), LIBRARY_VARIABLE: str(library)}
    log = home / "kernels-off.log"
    with serving(MODEL, "--kernels", "off", env=env, log=log) as server:
        assert ask(server, "What is the capital of France?", MODEL) == "The capital of France is Paris."
        assert httpx.get(f"{server.url}/props").json()["kernels"]["reason"] == "kernels is off"
    assert "died" not in log.read_text()
