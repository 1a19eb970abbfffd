"""Names as transformers itself saves and loads them: experts in its modules' form, halves of a tied pair."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.quantize.families.all_families import ALL_FAMILIES
from tests.quantize.families.checkpoint import read_golden, write_checkpoint
from tests.quantize.families.family import Family
from tests.quantize.quantize_folder import run_plan
from tests.quantize.summary import summary

pytestmark = [pytest.mark.oracle, pytest.mark.timeout(900), pytest.mark.filterwarnings("ignore")]

CAUSAL = [
    f for f in ALL_FAMILIES if f.kind == "decoder" and f.model is not None and f.name != "deepseek2-lite"
]
MIXTURES = {
    "mixtral",
    "granite-moe",
    "granite-moe-shared",
    "qwen2-moe",
    "qwen3-moe",
    "deepseek2",
    "deepseek3",
}


def tensors(directory: Path, out: Path) -> Any:
    """Return what is in our F32 file of a checkpoint."""
    out.mkdir()
    (file,) = run_plan(directory, ["F32"], out)
    return summary(file.path)["tensors"]


def load(directory: Path) -> Any:
    import torch
    import transformers

    kind = transformers.AutoModelForCausalLM
    if "Conditional" in (directory / "config.json").read_text(encoding="utf-8"):
        kind = transformers.AutoModelForImageTextToText
    return kind.from_pretrained(directory, dtype=torch.float32)


@pytest.mark.parametrize("family", CAUSAL, ids=str)
def test_a_model_in_the_form_of_its_modules_is_the_same(family: Family, tmp_path: Path) -> None:
    golden = read_golden(family)
    published = write_checkpoint(family, tmp_path, golden["config"], golden["tensors"])
    expected = tensors(published, tmp_path / "published.out")
    model = load(published)
    weights = published / "model.safetensors"
    weights.unlink()
    model.save_pretrained(published, save_original_format=False)
    assert weights.is_file()
    has_fused = any(name.endswith("experts.gate_up_proj") for name in model.state_dict())
    assert has_fused == (family.name in MIXTURES)
    assert tensors(published, tmp_path / "modules.out") == expected


@pytest.mark.parametrize("family", CAUSAL, ids=str)
def test_a_model_of_its_base_alone_loads_there_too(family: Family, tmp_path: Path) -> None:
    """Save the base without its head, as feature extractors are, and see what either makes of it."""
    golden = read_golden(family)
    if not golden["config"].get("tie_word_embeddings", True):
        return
    published = write_checkpoint(family, tmp_path, golden["config"], golden["tensors"])
    expected = tensors(published, tmp_path / "published.out")
    model = load(published)
    (published / "model.safetensors").unlink()
    config = (published / "config.json").read_bytes()
    model.base_model.save_pretrained(published)
    (published / "config.json").write_bytes(config)
    reloaded = load(published).state_dict()
    assert all((value == reloaded[name]).all() for name, value in model.state_dict().items())
    assert tensors(published, tmp_path / "base.out") == expected
