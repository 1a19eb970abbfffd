from __future__ import annotations

import pytest

from models.errors import InvalidReference, ModelNotFound
from models.reference import ModelRef
from models.store.short_names import Shortness, full_name, full_reference

NAMES = (
    "HuggingFaceTB/SmolLM2-135M-Instruct",
    "Qwen/Qwen3-0.6B",
    "Qwen/Qwen3-4B",
    "me/Qwen3-4B",
    "me/gpt2-xl",
    "demo",
    "llama3.2",
    "llama3.2-3b",
    "other/llama3.2",
)


def full(text: str, shortness: Shortness = "beginning") -> str:
    return str(full_reference(ModelRef.parse(text), NAMES, shortness))


@pytest.mark.parametrize(
    ("text", "whole"),
    [
        ("smollm2", "HuggingFaceTB/SmolLM2-135M-Instruct"),
        ("SmolLM2-135M-Instruct:q8_0", "HuggingFaceTB/SmolLM2-135M-Instruct:Q8_0"),
        ("smollm2@main:4bit", "HuggingFaceTB/SmolLM2-135M-Instruct@main:Q4_K_M"),
        ("qwen3-0", "Qwen/Qwen3-0.6B"),
        ("llama3.2", "llama3.2"),  # its own name, before all others
        ("LLAMA3.2", "llama3.2"),
        ("demo", "demo"),
        ("gpt2", "me/gpt2-xl"),
        ("smol", "smol"),  # no word ends there
        ("mistral", "mistral"),
        ("Qwen/Qwen3", "Qwen/Qwen3"),  # a name of the Hub is whole
    ],
)
def test_the_model_that_is_meant(text: str, whole: str) -> None:
    assert full(text) == whole


@pytest.mark.parametrize("text", ["qwen3", "qwen3-4b", "Qwen3-4B:Q8_0"])
def test_several_are_listed_and_none_is_guessed(text: str) -> None:
    with pytest.raises(InvalidReference, match=r"Qwen/Qwen3-4B.* or me/Qwen3-4B"):
        full(text)


def test_the_letters_decide_between_names_that_differ_in_case_alone() -> None:
    ref = ModelRef.parse("Tiny")
    assert full_reference(ref, ["a/tiny", "b/Tiny"]).repo == "b/Tiny"
    with pytest.raises(InvalidReference):
        full_reference(ModelRef.parse("TINY"), ["a/tiny", "b/Tiny"])


def test_a_command_that_downloads_takes_a_beginning_for_a_name_of_the_hub() -> None:
    assert full("gpt2", "last part") == "gpt2"
    assert full("GPT2-XL", "last part") == "me/gpt2-xl"


def test_a_command_that_deletes_wants_it_exactly() -> None:
    assert full("gpt2-xl", "exact") == "me/gpt2-xl"
    assert full("mistral", "exact") == "mistral"
    for text in ("gpt2", "GPT2-XL", "smollm2"):
        with pytest.raises(ModelNotFound, match="give the whole name, such as"):
            full(text, "exact")
    with pytest.raises(InvalidReference):
        full("Qwen3-4B", "exact")


def test_names_that_a_server_lists() -> None:
    listed = ["org/tiny:Q8_0", "org/tiny:F32", "org/other"]
    assert full_name("tiny:F32", listed) == "org/tiny:F32"
    assert full_name("tiny", listed) == "org/tiny"
    assert full_name("nothing:Q8_0", listed) == "nothing:Q8_0"


def test_a_long_list_is_cut() -> None:
    with pytest.raises(InvalidReference, match=r"x/m-0.* or 12 more; give more"):
        full_reference(ModelRef.parse("m"), [f"x/m-{number}" for number in range(20)])
