from __future__ import annotations

import pytest

from server.chat.detection import detect


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("lmsys/vicuna-7b-v1.5", "vicuna"),
        ("lmsys/vicuna-13b-v1.5-16k", "vicuna"),
        ("lmsys/vicuna-13b-v1.3", "vicuna"),
        ("lmsys/vicuna-7b-v1.1", "vicuna"),
        ("vicuna-7b-v1", "vicuna"),
        ("lmsys/vicuna-7b-delta-v0", "vicuna_v0"),
        ("vicuna-13b-v0.Q4_K_M", "vicuna_v0"),
        ("vicuna-13b", "vicuna"),
        ("CarperAI/stable-vicuna-13b-delta", "vicuna_v0"),
        ("cognitivecomputations/Wizard-Vicuna-7B-Uncensored", "vicuna"),
        ("chavinlo/gpt4-x-alpaca", "alpaca"),
        ("NousResearch/gpt4-x-vicuna-13b", "alpaca"),
        ("tatsu-lab/alpaca-7b-wdiff", "alpaca"),
        ("young-geng/koala-13b", "koala"),
        ("WizardLM/WizardLM-13B-V1.2", "wizardlm"),
        ("WizardLM/WizardCoder-15B-V1.0", "alpaca"),
        ("meta-llama/Llama-2-7b", "alpaca"),
    ],
)
def test_by_name(name: str, expected: str) -> None:
    assert detect(name, {}, has_template=False) == expected


@pytest.mark.parametrize("name", ["demo", "wizard-vicuna-7b", "llama-3-alpaca-finetune", "koala-13b"])
def test_the_models_template_wins_over_a_vague_name(name: str) -> None:
    assert detect(name, {}, has_template=True) == "template"


@pytest.mark.parametrize(
    ("name", "expected"), [("lmsys/vicuna-7b-v1.5", "vicuna"), ("vicuna-7b-v0", "vicuna_v0")]
)
def test_a_name_with_family_and_version_wins_over_the_template(name: str, expected: str) -> None:
    assert detect(name, {}, has_template=True) == expected


def test_metadata_names_count_too() -> None:
    assert detect("model", {"general.name": "Vicuna 7B V0"}, has_template=False) == "vicuna_v0"
    assert detect("model", {"general.basename": "koala"}, has_template=False) == "koala"


def test_the_organisation_does_not_count() -> None:
    assert detect("vicuna-lab/other-7b", {}, has_template=True) == "template"


def test_declared_in_metadata() -> None:
    declared = {"corral.prompt_format": "koala", "general.name": "vicuna-7b-v1.5"}
    assert detect("vicuna-7b-v1.5", declared, has_template=True) == "koala"


@pytest.mark.parametrize("declared", ["nonsense", "template", ""])
def test_a_declaration_that_cannot_be_followed_is_passed_over(declared: str) -> None:
    assert detect("vicuna-7b", {"corral.prompt_format": declared}, has_template=False) == "vicuna"
