"""Finding the family: every name leads to one class, and what is unknown is refused by name."""

from __future__ import annotations

from collections import Counter

import pytest

from models.errors import UnknownArchitecture
from quantize.architectures.refused import REFUSED, UNKNOWN_TO_LLAMA_CPP
from quantize.architectures.registry import (
    ARCHITECTURES,
    READING_BACK,
    architecture_of,
    families_by_gguf_name,
    known_architectures,
)


def test_no_name_has_two_families() -> None:
    assert [name for name, n in Counter(known_architectures()).items() if n > 1] == []
    assert len(set(ARCHITECTURES)) == len(ARCHITECTURES)


def test_only_these_choose_their_gguf_name_by_the_configuration() -> None:
    assert [family.__name__ for family in ARCHITECTURES if not family.gguf_name] == ["NomicBert"]


def test_a_gguf_name_of_several_families_says_which_reads_it_back() -> None:
    n_families = Counter(
        family.gguf_name for family in ARCHITECTURES if family.gguf_name and family.reads_back
    )
    assert set(READING_BACK) == {name for name, n in n_families.items() if n > 1}
    assert all(family.gguf_name == name for name, family in families_by_gguf_name().items())


def test_an_unknown_architecture_is_named_and_so_are_those_alike() -> None:
    with pytest.raises(
        UnknownArchitecture, match=r"Qwen33ForCausalLM is not .* Qwen3ForCausalLM.*md"
    ) as found:
        architecture_of({"architectures": ["Qwen33ForCausalLM"]})
    assert len(found.value.message) < 300


@pytest.mark.parametrize("name", ["OPTForCausalLM", "OPTModel"])
def test_opt_is_not_known_to_llama_cpp(name: str) -> None:
    with pytest.raises(UnknownArchitecture, match=rf"OPT \({name}\) is not known to llama.cpp"):
        architecture_of({"architectures": [name]})


def test_no_family_is_refused() -> None:
    assert not set(known_architectures()) & {*REFUSED, *UNKNOWN_TO_LLAMA_CPP}


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("DFlashDraftModel", "a draft that guesses"),
        ("PocketTTSModel", "speech"),
        ("DotsOCRForCausalLM", "reads text from images"),
        ("DreamModel", "diffusion"),
        ("InternVisionModel", "the part of a model that sees"),
    ],
)
def test_what_is_no_model_of_text_is_refused_by_what_it_is(name: str, kind: str) -> None:
    with pytest.raises(UnknownArchitecture, match=f"{name} is .*{kind}.*; choose another model"):
        architecture_of({"architectures": [name]})
