"""A server with our matrix kernels and one without: the same answers, and each says what it computes with."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from server.kernels.outlook import LIBRARY_VARIABLE, SET_VARIABLE
from tests.e2e.running import RunningServer, corral, environment, free_port, serving
from tests.e2e.test_demo import ask
from tests.matrix_kernels import built_library

pytestmark = [pytest.mark.e2e, pytest.mark.model]

QUESTIONS = ("What is the capital of France?", "What is the capital of Peru?", "Who are you?")


def environment_with(home: Path, **variables: str) -> dict[str, str]:
    return {**environment(home), LIBRARY_VARIABLE: str(built_library()), **variables}


@pytest.fixture(scope="module")
def with_kernels(home: Path) -> Iterator[RunningServer]:
    env = environment_with(home)
    with serving("demo:Q4_K_M", "--kernels", "on", env=env, log=home / "kernels-on.log") as server:
        yield server


@pytest.fixture(scope="module")
def without_kernels(home: Path) -> Iterator[RunningServer]:
    """As where the library was deleted: on its own a server does without."""
    env = environment_with(home, **{LIBRARY_VARIABLE: str(home / "deleted.so")})
    with serving("demo:Q4_K_M", env=env, log=home / "kernels-none.log") as server:
        yield server


def test_both_answer_alike_and_say_what_they_use(
    with_kernels: RunningServer, without_kernels: RunningServer
) -> None:
    for question in QUESTIONS:
        texts = [ask(server, question, "demo:Q4_K_M") for server in (with_kernels, without_kernels)]
        assert texts[0]
        assert texts[0] == texts[1]
    used = httpx.get(f"{with_kernels.url}/props").json()["kernels"]
    assert used["by"] == "corral"
    assert used["n_matrices"] > 40
    assert "Q4_K" in used["types"]
    assert f"matrix kernels for {used['instruction_set']}" in with_kernels.log.read_text()
    unused = httpx.get(f"{without_kernels.url}/props").json()["kernels"]
    assert unused["by"] == "llama.cpp"
    assert "deleted.so" in unused["reason"]
    assert "matrix kernels: llama.cpp's (libcorral_kernels.so isn't there" in without_kernels.log.read_text()


def test_on_is_refused_where_they_cannot_be_used(home: Path) -> None:
    env = environment_with(home, **{SET_VARIABLE: "of-another-cpu"})
    found = corral("serve", "demo:Q4_K_M", "--kernels", "on", "--port", str(free_port()), env=env)
    assert found.returncode == 1
    assert "kernels is on, but the instruction set 'of-another-cpu'" in found.stderr


def test_doctor_names_them(home: Path) -> None:
    assert "Corral's for " in corral("doctor", env=environment_with(home)).stdout
