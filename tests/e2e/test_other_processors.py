"""The product on processors that aren't this one, in emulation: what it says of itself there."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from models.llamacpp.kernel_library import default_path
from server.kernels.outlook import LIBRARY_VARIABLE
from tests.e2e.emulated_processor import emulated_python
from tests.e2e.running import environment, free_port
from tests.matrix_kernels import built_library

pytestmark = [pytest.mark.e2e, pytest.mark.model, pytest.mark.slow, pytest.mark.timeout(600)]

IS_FOR_THIS_CPU_ALONE = default_path().with_name("libggml-cpu.so").exists()
"""llama.cpp was compiled for the processor at hand, and not with a back end for each generation."""


def run(python: Path, home: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    env = {**environment(home), LIBRARY_VARIABLE: str(built_library())}
    command = [str(python), "-P", "-m", *arguments]
    return subprocess.run(command, env=env, capture_output=True, text=True, check=False)


def doctors_checks(python: Path, home: Path) -> dict[str, dict[str, Any]]:
    found = json.loads(run(python, home, "server.cli", "doctor", "--json").stdout)
    return {check["name"]: check for check in found}


def test_a_processor_with_avx2_gets_the_kernels_for_it(tmp_path: Path) -> None:
    """It has no AVX-512, whatever this machine has."""
    found = run(emulated_python(tmp_path / "env", "Haswell"), tmp_path, "server.kernels.doctor")
    if found.returncode != 0 and IS_FOR_THIS_CPU_ALONE:
        pytest.skip("llama.cpp was compiled for a newer processor")
    assert found.returncode == 0, found.stderr
    assert json.loads(found.stdout)["set_name"] == "avx2"


@pytest.mark.thorough
def test_a_processor_without_avx2_does_without(tmp_path: Path) -> None:
    """Where llama.cpp itself was compiled for a newer one, that is said, and the kernels aren't blamed."""
    python = emulated_python(tmp_path / "env", "Nehalem")
    checks = doctors_checks(python, tmp_path)
    if checks["llama.cpp"]["status"] == "fail":
        assert IS_FOR_THIS_CPU_ALONE
        assert "died of SIGILL" in checks["llama.cpp"]["fact"]
        assert checks["llama.cpp"]["fix"] == "run `make setup` to compile it here"
        assert checks["kernels"]["fact"] == "not checked: they need llama.cpp"
        assert checks["kernels"]["status"] == "ok"
        served = run(python, tmp_path, "server.cli", "serve", "demo:Q4_K_M", "--port", str(free_port()))
        assert served.returncode == 1
        assert "SIGILL; llama.cpp was built for another CPU: run `corral doctor`" in served.stderr
    else:
        said = "this CPU has no instruction set that Corral's are written for"
        assert said in checks["kernels"]["fact"]
        assert checks["kernels"]["status"] == "ok"
