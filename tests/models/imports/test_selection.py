from __future__ import annotations

import pytest

from models.errors import InvalidReference, ModelNotFound
from models.imports.candidate import Candidate
from models.imports.selection import select

OLLAMA = [
    Candidate("ollama", title, title)
    for title in ("llama:latest", "llama:3b", "qwen:4b", "me/own:latest", "you/own:latest")
]
LM_STUDIO = [
    Candidate("lm-studio", "pub/m-GGUF", "pub/m-GGUF/m-Q8_0.gguf", type_hint="Q8_0"),
    Candidate("lm-studio", "pub/m-GGUF", "pub/m-GGUF/m-Q4_K_M.gguf", type_hint="Q4_K_M"),
]


@pytest.mark.parametrize(
    ("name", "labels"),
    [
        ("llama", ["llama:latest"]),
        ("LLAMA:3b", ["llama:3b"]),
        ("qwen", ["qwen:4b"]),
        ("me/own", ["me/own:latest"]),
    ],
)
def test_ollamas_names(name: str, labels: list[str]) -> None:
    assert [one.label for one in select(OLLAMA, [name])] == labels


@pytest.mark.parametrize(
    ("name", "numbers"),
    [
        ("pub/m-GGUF", [0, 1]),
        ("m-gguf", [0, 1]),
        ("pub/m-GGUF:q8_0", [0]),
        ("m-GGUF:4bit", [1]),
        ("m-Q8_0.gguf", [0]),
        ("pub/m-GGUF/m-Q4_K_M.gguf", [1]),
    ],
)
def test_lm_studios_names(name: str, numbers: list[int]) -> None:
    assert select(LM_STUDIO, [name]) == [LM_STUDIO[number] for number in numbers]


def test_none_are_all_and_twice_is_once() -> None:
    assert select(OLLAMA, []) == OLLAMA
    assert [one.label for one in select(OLLAMA, ["qwen", "llama", "qwen:4b"])] == ["qwen:4b", "llama:latest"]


def test_names_of_none_and_of_several() -> None:
    with pytest.raises(InvalidReference, match="own can be me/own:latest or you/own:latest"):
        select(OLLAMA, ["own"])
    with pytest.raises(ModelNotFound, match="no mistral; there is llama:3b, llama:latest"):
        select(OLLAMA, ["mistral"])
    with pytest.raises(ModelNotFound, match="there is nothing"):
        select([], ["mistral"])
    with pytest.raises(ModelNotFound):
        select(LM_STUDIO, ["m-GGUF:Q2_K"])
