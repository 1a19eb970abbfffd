"""A Checkpoint made of others: for `pipeline.make_plan`, and for `write.py`.

The small files (config.json, tokenizer, generation_config.json, a model card that names the parts) lie in a
temporary folder; the tensors are a LoraSource or a MergeSource.
"""

from __future__ import annotations

import json
import re
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import yaml

from models.errors import ConfigError, QuantizationError
from models.reference import ModelRef
from models.version import VERSION
from quantize.checkpoint.checkpoint import Checkpoint
from quantize.checkpoint.hub_stream import HubStream
from quantize.checkpoint.source import TensorSource
from quantize.gguf.header import Metadata, string
from quantize.merge.config import merged_config, n_layers_of
from quantize.merge.locate import Located, Locator, combined_revision
from quantize.merge.lora import LoraSource
from quantize.merge.merge_plan import MergeModel, merged_tensors
from quantize.merge.recipe import Recipe, is_recipe, read_recipe
from quantize.merge.source import MergeSource
from quantize.merge.tokenizer import check_tokenizers

RECIPE_KEY: Final = "corral.merge.recipe"
SOURCES_KEY: Final = "corral.merge.sources"
_CARD: Final = "README.md"
_OF_WEIGHTS: Final = re.compile(
    r".*\.(safetensors|bin|pth?|gguf|h5|msgpack|onnx|index\.json)|config\.json|README\.md|\..*", re.IGNORECASE
)
_FRONT: Final = re.compile(r"\A---\n(.*?)\n---\n", re.DOTALL)
_SMALL_BYTES: Final = 256 * 2**20

Adapter = tuple[Located, float]


@dataclass(frozen=True)
class ComposedCheckpoint(Checkpoint):
    """An open checkpoint whose small files go when it is closed."""

    temporary: tempfile.TemporaryDirectory[str] | None = None

    def close(self) -> None:
        super().close()
        if self.temporary is not None:
            self.temporary.cleanup()


@dataclass(frozen=True)
class Parts:
    """What a composition is made of, on this disk.

    `place` stands for it where a local model has a path: the recipe, or the first adapter's folder. `name` is
    what it is stored and served as. `text`: the recipe.
    """

    place: Path
    name: str
    text: str
    models: Mapping[str, Located]
    adapters: Mapping[str, Sequence[Adapter]]
    recipe: Recipe | None = None

    @property
    def located(self) -> tuple[Located, ...]:
        added = [place for adapters in self.adapters.values() for place, _ in adapters]
        return tuple(dict.fromkeys([*self.models.values(), *added]))

    @property
    def streamed(self) -> HubStream | None:
        """The model's weights, where they come from the Hub as they are read."""
        return next((place.streamed for place in self.located if place.streamed is not None), None)

    @property
    def revision(self) -> str:
        """Changes with any of it."""
        return combined_revision(self.text, *(place.revision for place in self.located))

    @property
    def reference(self) -> ModelRef:
        """What finds it in the store."""
        return ModelRef(kind="hub", repo=self.name)

    @property
    def metadata(self) -> Metadata:
        """For the GGUF file, beside what the model card says: the recipe, and which weights they were."""
        return {
            RECIPE_KEY: string(self.text),
            SOURCES_KEY: string("\n".join(place.label for place in self.located)),
        }

    def open(self) -> ComposedCheckpoint:
        """Raises CheckpointError, ConfigError: the parts can't be read, or don't fit together."""
        return _open_lora(self) if self.recipe is None else _open_merge(self, self.recipe)


def is_composed(ref: ModelRef, adapters: Sequence[tuple[str, float]]) -> bool:
    """Is more than one checkpoint asked for?"""
    return bool(adapters) or (ref.path is not None and is_recipe(ref.path))


def find_parts(ref: ModelRef, adapters: Sequence[tuple[str, float]], locator: Locator) -> Parts:
    """The parts of the recipe `ref`, or of the model `ref` with adapters (folders and weights).

    Raises ConfigError, CheckpointError, QuantizationError, and what finding and downloading models raises.
    """
    if ref.path is not None and is_recipe(ref.path):
        if adapters:
            raise ConfigError("adapters of a merge are part of its recipe: write model: REF+FOLDER there")
        return _recipe_parts(ref.path, replace(locator, beside=ref.path.parent))
    model = locator.model(str(ref.with_type(None)))
    added = [(locator.adapter(folder), weight) for folder, weight in adapters]
    lora = [{"adapter": place.label, "weight": weight} for place, weight in added]
    text = yaml.safe_dump({"base": model.label, "lora": lora}, sort_keys=False)
    name = "-".join([model.name, *(place.name for place, _ in added)])
    return Parts(added[0][0].directory, _plain(name), text, {str(ref): model}, {str(ref): added})


def _recipe_parts(path: Path, locator: Locator) -> Parts:
    """`model+adapter` split, unless there is a folder of that name."""
    recipe = read_recipe(path)
    models: dict[str, Located] = {}
    adapters: dict[str, Sequence[Adapter]] = {}
    for text in recipe.models:
        whole = any((folder / text).exists() for folder in (Path(), path.parent))
        base, _, adapter = (text, "", "") if whole else text.partition("+")
        models[text] = locator.model(base)
        if adapter:
            adapters[text] = [(locator.adapter(adapter), 1.0)]
    return Parts(path, _plain(path.stem), recipe.text, models, adapters, recipe)


def _plain(name: str) -> str:
    """As a model may be called: letters, digits, single - _ . and one /."""
    parts = [re.sub(r"[^A-Za-z0-9._]+|-{2,}|\.{2,}", "-", part).strip("-.")[:90] for part in name.split("/")]
    return "/".join(part or "model" for part in parts)


def _open_lora(parts: Parts) -> ComposedCheckpoint:
    ((text, place),) = parts.models.items()
    with ExitStack() as stack:
        checkpoint = stack.enter_context(place.open())
        tensors = _with_adapters(checkpoint, parts.adapters[text])
        made = _composed(parts, place, checkpoint.config, tensors, stack)
        stack.pop_all()
        return made


def _open_merge(parts: Parts, recipe: Recipe) -> ComposedCheckpoint:
    with ExitStack() as stack:
        opened = {
            text: stack.enter_context(Checkpoint.open(place.directory))
            for text, place in parts.models.items()
        }
        configs = {text: checkpoint.config for text, checkpoint in opened.items()}
        config = merged_config(recipe, configs)
        check_tokenizers(recipe, {text: place.directory for text, place in parts.models.items()})
        layout = merged_tensors(
            recipe, {text: _merge_model(checkpoint) for text, checkpoint in opened.items()}
        )
        sources: dict[str, TensorSource] = {}
        for text, checkpoint in opened.items():
            sources[text] = _with_adapters(checkpoint, parts.adapters.get(text, ()))
            stack.callback(sources[text].close)
        tensors = MergeSource(recipe.method, sources, layout)
        made = _composed(parts, parts.models[recipe.tokenizer_model], config, tensors, stack)
        stack.pop_all()
        return made


def _with_adapters(checkpoint: Checkpoint, adapters: Sequence[Adapter]) -> TensorSource:
    if not adapters:
        return checkpoint.tensors
    return LoraSource(checkpoint.tensors, [(place.directory, weight) for place, weight in adapters])


def _merge_model(checkpoint: Checkpoint) -> MergeModel:
    tied = checkpoint.config.get("tie_word_embeddings") is True
    return MergeModel(checkpoint.tensors.entries, n_layers_of(checkpoint.config), tied)


def _composed(
    parts: Parts, donor: Located, config: Mapping[str, Any], tensors: TensorSource, stack: ExitStack
) -> ComposedCheckpoint:
    temporary = tempfile.TemporaryDirectory(prefix="corral-merge-")
    stack.callback(temporary.cleanup)
    folder = Path(temporary.name)
    for path in small_files(donor.directory):
        (folder / path.name).symlink_to(path.absolute())
    (folder / "config.json").write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
    (folder / _CARD).write_text(_card(parts, donor), encoding="utf-8")
    return ComposedCheckpoint(folder, dict(config), tensors, temporary=temporary)


def small_files(directory: Path) -> list[Path]:
    """A model's files that are neither weights nor config.json nor card: tokenizer, template, sampling."""
    try:
        return [
            path
            for path in sorted(directory.iterdir())
            if path.is_file() and not _OF_WEIGHTS.fullmatch(path.name) and path.stat().st_size <= _SMALL_BYTES
        ]
    except OSError as error:
        raise QuantizationError(f"{directory} can't be read: {error.strerror}; check it") from error


def _card(parts: Parts, donor: Located) -> str:
    """A model card: what it is made of, as the Hub and GGUF's metadata know it, and the recipe."""
    front: dict[str, Any] = {"base_model": [place.name for place in parts.located], "tags": ["merge"]}
    kept = ("license", "license_name", "license_link", "language")
    front |= {key: value for key, value in _front(donor.directory / _CARD).items() if key in kept}
    lines = "".join(f"- {place.label}\n" for place in parts.located)
    return (
        f"---\n{yaml.safe_dump(front, sort_keys=False)}---\n"
        f"Merged with Corral {VERSION} of\n\n{lines}\nby this recipe:\n\n```yaml\n{parts.text.strip()}\n```\n"
    )


def _front(card: Path) -> dict[str, Any]:
    """A model card's fields; none if it has no readable ones."""
    try:
        match = _FRONT.match(card.read_text(encoding="utf-8")[:_SMALL_BYTES])
        fields = yaml.safe_load(match[1]) if match else None
    except (OSError, ValueError, yaml.YAMLError, RecursionError):
        return {}
    return fields if isinstance(fields, dict) else {}
