"""With our matrix kernels answers don't depend on what else is computed, bit for bit: `docs/exactness.md`."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from server.kernels.outlook import LIBRARY_VARIABLE
from tests.matrix_kernels import built_library
from tests.quantize.quantize_folder import quantize_folder

pytestmark = [pytest.mark.model]

Answers = list[dict[str, Any]]


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The demo model."""
    return quantize_folder("demo", ["Q4_K_M"], tmp_path_factory.mktemp("demo"))[0].path


@pytest.fixture(scope="module", params=["q8_0", "f16"])
def answers(request: pytest.FixtureRequest, path: Path) -> dict[str, Answers]:
    """What the requests were answered in each way, with this type of keys and values, on two threads."""
    out = path.parent / f"{request.param}.json"
    command = [
        sys.executable,
        "-m",
        "tests.server.worker.panel_answers",
        str(path),
        request.param,
        "2",
        str(out),
    ]
    passive = {"OMP_WAIT_POLICY": "passive"}  # two threads that wait actively crawl on a busy machine
    env = {**os.environ, **passive, LIBRARY_VARIABLE: str(built_library())}
    subprocess.run(command, check=True, env=env, cwd=Path(__file__).parents[3])
    found: dict[str, Answers] = json.loads(out.read_text())
    return found


def n_accepted(answers: Answers) -> int:
    return sum(answer["n_accepted"] for answer in answers)


@pytest.mark.parametrize("way", ["chunks of 7", "together", "guesses", "guesses together", "prefix cache"])
def test_every_bit_is_what_it_is_alone(answers: dict[str, Answers], way: str) -> None:
    """Tokens, greedy and sampled, and their logprobs; prompts of under 64 tokens, contexts of up to 256."""
    assert len(answers[way]) == len(answers["alone"])
    for found, alone in zip(answers[way], answers["alone"], strict=True):
        assert found["tokens"] == alone["tokens"]
        assert found["logprobs"] == alone["logprobs"]
    assert (n_accepted(answers[way]) > 0) == way.startswith("guesses"), "right guesses are what is tried"
    assert answers[way][0]["n_padded"] > 0 or not way.endswith("together"), "and rows of nothing among them"


def test_in_shared_cells_it_is_nearly_so(answers: dict[str, Answers]) -> None:
    """A sequence's cells lie in another order there, in which attention adds up: the limit of what holds."""
    differences = []
    for found, alone in zip(answers["shared cells"], answers["alone"], strict=True):
        for index, tokens in alone["tokens"].items():
            for at, token in enumerate(tokens):
                if found["tokens"][index][at] != token:
                    break
                ways = found["logprobs"][index][at][0], alone["logprobs"][index][at][0]
                differences.append(abs(ways[0] - ways[1]))
    assert len(differences) > 150
    assert 0 < max(differences) < 0.3
