"""`corral merge`, and `corral quantize` of a recipe and with adapters."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from models.errors import ConfigError
from quantize.merge.locate import parse_adapter
from tests.peft import write_peft_adapter
from tests.quantize.merge.models import write_family, write_recipe
from tests.server.cli.conftest import Corral

RECIPE = {
    "merge_method": "linear",
    "models": [{"model": name, "parameters": {"weight": 0.5}} for name in ("base", "one")],
}


@pytest.fixture
def family(tmp_path: Path) -> Path:
    return write_family(tmp_path / "family", ["base", "one"], n_layers=1)


@pytest.mark.model
def test_a_recipe_becomes_a_checkpoint_and_a_gguf(corral: Corral, family: Path, tmp_path: Path) -> None:
    recipe = write_recipe(family / "half.yaml", RECIPE)
    done = corral("merge", str(recipe), "--out", str(tmp_path / "merged"), "--json")
    assert done.returncode == 0, done.stderr
    document = json.loads(done.stdout)
    assert document["files"] == ["model.safetensors"]
    assert (tmp_path / "merged" / "model.safetensors").stat().st_size == document["size_bytes"]
    again = corral("merge", str(recipe), "--out", str(tmp_path / "merged"))
    assert (again.returncode, again.stdout) == (1, "")
    assert "exists" in again.stderr
    quantized = corral("quantize", str(recipe), "--type", "Q8_0")
    assert quantized.returncode == 0, quantized.stderr
    assert "corral serve half" in quantized.stderr
    assert "half" in corral("list").stdout


@pytest.mark.model
def test_adapters_of_a_model(corral: Corral, family: Path, tmp_path: Path) -> None:
    adapter = write_peft_adapter(tmp_path / "style", family / "base")
    done = corral("quantize", str(family / "base"), "--type", "Q8_0", "--lora", f"{adapter}=0.5")
    assert done.returncode == 0, done.stderr
    assert "corral serve base-style" in done.stderr


def test_wrong_usage(corral: Corral, family: Path, tmp_path: Path) -> None:
    bad = write_recipe(family / "bad.yaml", RECIPE | {"merge_method": "magic"})
    done = corral("merge", str(bad), "--out", str(tmp_path / "merged"))
    assert (done.returncode, done.stdout) == (2, "")
    assert "'magic'; known are linear" in done.stderr
    assert corral("merge", str(family / "base"), "--out", str(tmp_path / "merged")).returncode == 1
    done = corral("quantize", str(family / "base"), "--lora", "x=heavy")
    assert done.returncode == 2
    assert not (tmp_path / "merged").exists()


@pytest.mark.parametrize(
    ("text", "expected"), [("a", ("a", 1.0)), ("a/b=0.5", ("a/b", 0.5)), ("a=b=-2", ("a=b", -2.0))]
)
def test_an_adapter_and_its_weight(text: str, expected: tuple[str, float]) -> None:
    assert parse_adapter(text) == expected


@pytest.mark.parametrize("text", ["a=", "a=x", "a=nan", "=1"])
def test_a_weight_that_is_no_number(text: str) -> None:
    with pytest.raises(ConfigError, match=r"write DIR=0\.5"):
        parse_adapter(text)
