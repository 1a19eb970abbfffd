from __future__ import annotations

import sys

from models.machine.native_facts import NativeFacts, ask, parse_features


def test_features_are_read() -> None:
    line = "CPU : SSE3 = 1 | AVX2 = 1 | AVX512 = 0 | OPENMP = 1 | CUDA : ARCHS = 890 | USE_GRAPHS = 1 | "
    assert parse_features(line) == {"SSE3", "AVX2", "OPENMP", "USE_GRAPHS"}


def test_what_llama_cpp_says_of_itself() -> None:
    facts = ask()
    assert isinstance(facts, NativeFacts)
    assert facts.version == "0.3.36"
    assert facts.devices


def test_a_child_that_says_nothing() -> None:
    assert str(ask(command=[sys.executable, "-c", "print()"])).startswith("answered nonsense")
