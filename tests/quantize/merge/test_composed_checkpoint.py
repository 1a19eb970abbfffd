"""A recipe, or a model with adapters, as GGUF and as safetensors: the same bytes, and their metadata."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from models.errors import ConfigError, DiskFull, QuantizationError
from models.gguf.reader import read_gguf_file
from models.paths import Paths
from models.reference import ModelRef
from models.store.store import ModelStore
from quantize.architectures.base.sentence_files import CLS, pooling_type
from quantize.checkpoint.checkpoint import Checkpoint, open_weights
from quantize.job.request import QuantizeOptions
from quantize.job.service import quantize_reference
from quantize.merge.composed_checkpoint import RECIPE_KEY, SOURCES_KEY
from quantize.merge.lora import LoraSource
from quantize.merge.write import write_checkpoint
from quantize.plan.make_plan import make_plan
from quantize.plan.types import TypeChoice
from quantize.run.options import RunOptions
from quantize.vocabulary.chat_template import TEMPLATES_FOLDER
from tests.hub_server import HubServer
from tests.peft import write_peft_adapter
from tests.pico import write_safetensors
from tests.quantize.calibration.pico_moments import calibration_by, collect_pico_moments
from tests.quantize.merge.models import (
    assert_equal,
    copy_model,
    open_recipe,
    weights,
    whole,
    write_family,
    write_recipe,
)
from tests.quantize.quantize_folder import quantize_folder

RECIPE = {
    "merge_method": "ties",
    "base_model": "base",
    "models": [
        {"model": name, "parameters": {"weight": weight, "density": 0.5}}
        for name, weight in (("one", 0.7), ("two", 0.4))
    ],
}


@pytest.fixture
def store(tmp_path: Path) -> ModelStore:
    return ModelStore(Paths(home=tmp_path / "home", hf_cache=tmp_path / "hub"))


@pytest.fixture
def family(tmp_path: Path) -> Path:
    return write_family(tmp_path / "family", ["base", "one", "two"], dtype="BF16", n_layers=1)


def made(store: ModelStore, ref: Path | str, out: Path | None = None, **options: Any) -> Path:
    """Quantize a reference to its one Q4_K_M file."""
    reference = ModelRef.parse(str(ref))
    made = QuantizeOptions(run=RunOptions(threads=2), out_dir=out, **options)
    outcome = quantize_reference(reference, ["Q4_K_M"], store=store, options=made)
    return outcome.files[0].path


def tensor_bytes(path: Path) -> dict[str, tuple[str, bytes]]:
    data = path.read_bytes()
    file = read_gguf_file(path)
    return {t.name: (t.type, data[t.offset : t.offset + t.nbytes]) for t in file.tensors}


def test_a_merge_quantized_at_once_and_by_way_of_a_checkpoint(
    family: Path, store: ModelStore, tmp_path: Path
) -> None:
    path = write_recipe(family / "Blend.yaml", RECIPE)
    at_once = made(store, path, tmp_path / "at-once")
    with open_recipe(family, RECIPE) as checkpoint:
        written = write_checkpoint(checkpoint, tmp_path / "merged", shard_bytes=500_000, threads=2)
        assert len(written.files) > 2
    by_way = made(store, tmp_path / "merged", tmp_path / "by-way")
    assert at_once.name == "Blend.Q4_K_M.gguf"
    assert tensor_bytes(at_once) == tensor_bytes(by_way)


@pytest.mark.parametrize("weight", [1.0, 0.5])
def test_an_adapter_merged_on_the_way_and_before(
    weight: float, family: Path, store: ModelStore, tmp_path: Path
) -> None:
    folder = write_peft_adapter(tmp_path / "style", family / "base", dtype="BF16")
    on_the_way = made(store, family / "base", tmp_path / "a", adapters=[(str(folder), weight)])
    source = LoraSource(open_weights(family / "base"), [(folder, weight)])
    before = copy_model(family / "base", tmp_path / "merged", lambda value: value)
    write_safetensors(before / "model.safetensors", whole(source))
    source.close()
    assert tensor_bytes(on_the_way) == tensor_bytes(made(store, before, tmp_path / "b"))
    assert tensor_bytes(on_the_way) != tensor_bytes(made(store, family / "base", tmp_path / "c"))


def test_rounding_is_calibrated_after_merging(family: Path, store: ModelStore, tmp_path: Path) -> None:
    sixteen = quantize_folder(family / "base", ["F16"], tmp_path)[0].path
    folder = write_peft_adapter(tmp_path / "style", family / "base", dtype="BF16")
    source = LoraSource(open_weights(family / "base"), [(folder, 1.0)])
    before = copy_model(family / "base", tmp_path / "merged", lambda value: value)
    write_safetensors(before / "model.safetensors", whole(source))
    source.close()
    adapters = [(str(folder), 1.0)]
    plain = tensor_bytes(made(store, family / "base", tmp_path / "plain", adapters=adapters))
    with collect_pico_moments(sixteen, tmp_path) as moments:
        choice = TypeChoice(calibration=calibration_by(moments))
        on_the_way = made(store, family / "base", tmp_path / "a", adapters=adapters, choice=choice)
        by_way = made(store, before, tmp_path / "b", choice=choice)
    assert tensor_bytes(on_the_way) == tensor_bytes(by_way)
    assert tensor_bytes(on_the_way) != plain


def test_the_file_says_what_it_is_made_of(family: Path, store: ModelStore) -> None:
    path = write_recipe(family / "Blend.yaml", RECIPE)
    keys = read_gguf_file(made(store, path)).metadata
    assert keys["general.name"] == "Blend"
    assert keys["general.base_model.count"] == 3
    assert [keys[f"general.base_model.{n}.name"] for n in range(3)] == ["Base", "One", "Two"]
    assert keys[RECIPE_KEY] == path.read_text()
    labels = str(keys[SOURCES_KEY]).splitlines()
    assert [label.split("@")[0] for label in labels] == ["base", "one", "two"]
    assert all("@local-" in label for label in labels)


def test_an_adapter_is_named_with_its_weight(family: Path, store: ModelStore, tmp_path: Path) -> None:
    folder = write_peft_adapter(tmp_path / "style", family / "base")
    keys = read_gguf_file(made(store, family / "base", adapters=[(str(folder), 0.5)])).metadata
    assert "adapter: style@local-" in str(keys[RECIPE_KEY])
    assert "weight: 0.5" in str(keys[RECIPE_KEY])
    assert keys["general.base_model.0.name"] == "Base"


def test_merges_are_models_of_their_own(family: Path, store: ModelStore, tmp_path: Path) -> None:
    folder = write_peft_adapter(tmp_path / "style", family / "base")
    made(store, family / "base")
    made(store, family / "base", adapters=[(str(folder), 1.0)])
    path = write_recipe(family / "my blend.yaml", RECIPE)
    made(store, path)
    assert sorted(model.name for model in store.list()) == ["base", "base-style", "my-blend"]
    assert store.get(ModelRef.parse("base-style:Q4_K_M")).manifest.source.path == str(folder)

    def again(*adapters: tuple[str, float]) -> tuple[str, ...]:
        ref, options = ModelRef.parse(str(family / "base")), QuantizeOptions(adapters=adapters)
        return quantize_reference(ref, ["Q4_K_M"], store=store, options=options).existing

    assert again((str(folder), 1.0)) == ("Q4_K_M",)
    assert again((str(folder), 0.5)) == (), "another weight is another model"
    assert quantize_reference(ModelRef.parse(str(path)), ["Q4_K_M"], store=store).existing == ("Q4_K_M",)
    write_recipe(path, RECIPE | {"dtype": "float32"})
    assert quantize_reference(ModelRef.parse(str(path)), ["Q4_K_M"], store=store).existing == ()


def test_an_adapter_in_a_recipe(family: Path, store: ModelStore, tmp_path: Path) -> None:
    folder = write_peft_adapter(family / "style", family / "base")
    recipe = {"merge_method": "passthrough", "models": [{"model": "base+style"}], "dtype": "float32"}
    path = write_recipe(family / "styled.yaml", recipe)
    ours = tensor_bytes(made(store, path, tmp_path / "a"))
    assert ours == tensor_bytes(made(store, family / "base", tmp_path / "b", adapters=[(str(folder), 1.0)]))
    with pytest.raises(ConfigError, match=r"REF\+FOLDER"):
        made(store, path, tmp_path / "c", adapters=[(str(folder), 1.0)])


def test_models_of_the_hub(
    family: Path, store: ModelStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with HubServer() as hub:
        commits = [hub.add(f"someone/{name}", family / name).commit for name in ("base", "one", "two")]
        for key, value in hub.environment(tmp_path).items():
            monkeypatch.setenv(key, value)
        text = write_recipe(tmp_path / "x.yaml", RECIPE).read_text()
        for name in ("base", "one", "two"):
            text = text.replace(f"model: {name}\n", f"model: someone/{name}\n")
        path = write_recipe(tmp_path / "hub.yaml", text)
        with pytest.raises(QuantizationError, match="corral pull someone/base"):
            made(store, path, dry_run=True)
        keys = read_gguf_file(made(store, path)).metadata
    assert str(keys[SOURCES_KEY]).splitlines() == [
        f"someone/{name}@{commit}" for name, commit in zip(("base", "one", "two"), commits, strict=True)
    ]
    assert keys["general.base_model.1.organization"] == "Someone"


def test_a_written_checkpoint(family: Path, tmp_path: Path) -> None:
    events: list[tuple[int, int]] = []
    with open_recipe(family, RECIPE) as checkpoint:
        expected = whole(checkpoint.tensors)
        one = write_checkpoint(
            checkpoint, tmp_path / "one", threads=3, on_progress=lambda *event: events.append(event)
        )
        several = write_checkpoint(checkpoint, tmp_path / "several", shard_bytes=400_000)
    assert one.files == ("model.safetensors",)
    assert_equal(weights(tmp_path / "one"), expected)
    assert events[-1][0] == events[-1][1] == sum(value.nbytes for value in expected.values())
    index = json.loads((tmp_path / "several" / "model.safetensors.index.json").read_text())
    assert set(index["weight_map"].values()) == set(several.files)
    with Checkpoint.open(tmp_path / "several") as checkpoint:
        assert_equal(whole(checkpoint.tensors), expected)
        assert checkpoint.config["architectures"] == ["LlamaForCausalLM"]
    for name in ("tokenizer.json", "tokenizer_config.json"):
        copied = tmp_path / "one" / name
        assert not copied.is_symlink()
        assert copied.read_bytes() == (family / "base" / name).read_bytes()
    assert "merge_method: ties" in (tmp_path / "one" / "README.md").read_text()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["family", "one", "several"]


def test_named_templates_are_kept(family: Path, tmp_path: Path) -> None:
    template = family / "base" / TEMPLATES_FOLDER / "tool_use.jinja"
    template.parent.mkdir()
    template.write_text("{{ tools }}", encoding="utf-8")
    with open_recipe(family, RECIPE) as checkpoint:
        metadata = make_plan(checkpoint, ["F16"]).files[0].metadata
        assert metadata["tokenizer.chat_template.tool_use"].data == "{{ tools }}"
        write_checkpoint(checkpoint, tmp_path / "out")
    copied = tmp_path / "out" / TEMPLATES_FOLDER / "tool_use.jinja"
    assert not copied.is_symlink()
    assert copied.read_text(encoding="utf-8") == "{{ tools }}"


def test_modules_settings_are_kept_and_their_weights_are_not_written(family: Path, tmp_path: Path) -> None:
    base = family / "base"
    modules = [{"type": "x.Pooling", "path": "1_Pooling"}, {"type": "x.Dense", "path": "2_Dense"}]
    (base / "modules.json").write_text(json.dumps(modules), encoding="utf-8")
    settings = {
        "1_Pooling": {"pooling_mode_cls_token": True},
        "2_Dense": {"in_features": 1, "out_features": 1},
    }
    for folder, fields in settings.items():
        (base / folder).mkdir()
        (base / folder / "config.json").write_text(json.dumps(fields), encoding="utf-8")
    with open_recipe(family, RECIPE) as checkpoint:
        assert pooling_type(checkpoint.directory) == CLS
        with pytest.raises(QuantizationError, match="2_Dense"):
            write_checkpoint(checkpoint, tmp_path / "out")


def test_nothing_is_left_of_a_merge_that_fails(
    family: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with open_recipe(family, RECIPE) as checkpoint:
        (tmp_path / "there").mkdir()
        with pytest.raises(QuantizationError, match="exists"):
            write_checkpoint(checkpoint, tmp_path / "there")

        def broken(done: int, total: int) -> None:
            if done > total // 2:
                raise OSError(28, "No space left on device")

        with pytest.raises(DiskFull):
            write_checkpoint(checkpoint, tmp_path / "full", on_progress=broken)
        usage = type("usage", (), {"free": 1000})
        monkeypatch.setattr("shutil.disk_usage", lambda path: usage)
        with pytest.raises(DiskFull, match="1,000"):
            write_checkpoint(checkpoint, tmp_path / "full")
        folder = checkpoint.directory
        assert folder.is_dir()
    assert not folder.exists()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["family", "there"]
