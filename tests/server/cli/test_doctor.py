"""`corral doctor` about this machine, as its users type it."""

from __future__ import annotations

import json
from pathlib import Path

from tests.server.cli.conftest import Corral


def test_kernels_are_not_blamed_for_a_llama_cpp_that_cannot_be_loaded(
    corral: Corral, env: dict[str, str], tmp_path: Path
) -> None:
    env["LLAMA_CPP_LIB_PATH"] = str(tmp_path)
    done = corral("doctor", "--json")
    assert done.returncode == 1
    checks = {check["name"]: check for check in json.loads(done.stdout)}
    assert checks["llama.cpp"]["status"] == "fail"
    assert checks["kernels"] == {
        "name": "kernels",
        "status": "ok",
        "fact": "not checked: they need llama.cpp",
        "fix": None,
    }
