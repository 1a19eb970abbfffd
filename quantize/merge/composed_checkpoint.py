"""A Checkpoint made of others, which is planned, quantized or written like any other.

The small files (config.json, tokenizer, generation_config.json, a model card that names the parts) lie in a
temporary folder; the tensors are a LoraSource or a MergeSource.
"""

from __future__ import annotations

import hashlib
import json
import re
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import yaml

from models.errors import CheckpointError, ConfigError, QuantizationError
from models.reference import ModelRef
from models.version import VERSION
from models.weight_files import MODULE_FOLDER
from quantize.checkpoint.checkpoint import Checkpoint
from quantize.checkpoint.hub_stream import HubStream
from quantize.checkpoint.json_file import optional_json_object, read_bounded
from quantize.checkpoint.source import TensorSource
from quantize.gguf.header import Metadata, string
from quantize.merge.config import merge_config, n_layers_of
from quantize.merge.locate import Locator, ModelLocation, combine_revisions
from quantize.merge.lora import LoraSource
from quantize.merge.merge_plan import MergeModel, plan_tensors
from quantize.merge.output_matrix import equally_tied
from quantize.merge.recipe import Recipe, is_recipe, read_recipe
from quantize.merge.source import MergeSource
from quantize.vocabulary.chat_template import TEMPLATES_FOLDER

RECIPE_KEY: Final = "corral.merge.recipe"
SOURCES_KEY: Final = "corral.merge.sources"
_CARD: Final = "README.md"
_WEIGHT_FILE: Final = re.compile(
    r".*\.(safetensors|bin|pth?|gguf|h5|msgpack|onnx|index\.json)|config\.json|README\.md|\..*", re.IGNORECASE
)
_FRONT: Final = re.compile(r"\A---\n(.*?)\n---\n", re.DOTALL)
_SMALL_BYTES: Final = 256 * 2**20
"""A small file has at most this many bytes."""

_VOCABULARY_FILES: Final = ("tokenizer.json", "tokenizer.model", "spiece.model", "vocab.json", "vocab.txt")
TOKENIZER_FILES: Final = (
    *_VOCABULARY_FILES,
    "merges.txt",
    "added_tokens.json",
    "special_tokens_map.json",
    "tokenizer_config.json",
    "chat_template.jinja",
    "chat_template.json",
)
"""The files of a tokenizer and its chat template, which belong together."""

Adapter = tuple[ModelLocation, float]
"""A PEFT adapter's folder, and its weight."""


@dataclass(frozen=True)
class ComposedCheckpoint(Checkpoint):
    """An open checkpoint whose small files are deleted when it is closed."""

    temporary: tempfile.TemporaryDirectory[str] | None = None

    def close(self) -> None:
        super().close()
        if self.temporary is not None:
            self.temporary.cleanup()


@dataclass(frozen=True)
class Parts:
    """The parts of a composition, on this disk.

    `place` stands for the composition where a local model has a path: it is the recipe, or the first
    adapter's folder. `name` is the one it is stored and served as, `text` the recipe.
    """

    place: Path
    name: str
    text: str
    models: Mapping[str, ModelLocation]
    adapters: Mapping[str, Sequence[Adapter]]
    recipe: Recipe | None = None

    @property
    def locations(self) -> tuple[ModelLocation, ...]:
        """Every model and adapter, once each."""
        adapters = [place for adapters in self.adapters.values() for place, _ in adapters]
        return tuple(dict.fromkeys([*self.models.values(), *adapters]))

    @property
    def stream(self) -> HubStream | None:
        """The model's stream, where its weights come from the Hub as they are read."""
        return next((place.stream for place in self.locations if place.stream is not None), None)

    @property
    def revision(self) -> str:
        """A local revision that changes with any of the parts."""
        return combine_revisions(self.text, *(place.revision for place in self.locations))

    @property
    def reference(self) -> ModelRef:
        """The reference by which the store finds the result."""
        return ModelRef(kind="hub", repo=self.name)

    @property
    def metadata(self) -> Metadata:
        """Keys for the GGUF file: the recipe, and which weights were used."""
        return {
            RECIPE_KEY: string(self.text),
            SOURCES_KEY: string("\n".join(place.label for place in self.locations)),
        }

    def open(self) -> ComposedCheckpoint:
        """Open it. Raises CheckpointError, ConfigError: the parts can't be read, or don't fit together."""
        return _open_lora(self) if self.recipe is None else _open_merge(self, self.recipe)


def is_composed(ref: ModelRef, adapters: Sequence[tuple[str, float]]) -> bool:
    """True if the request is for more than one checkpoint."""
    return bool(adapters) or (ref.path is not None and is_recipe(ref.path))


def find_parts(ref: ModelRef, adapters: Sequence[tuple[str, float]], locator: Locator) -> Parts:
    """Find the parts of the recipe `ref`, or of the model `ref` with adapters (folders and weights).

    Raises ConfigError, CheckpointError, QuantizationError, and what finding and downloading models raises.
    """
    if ref.path is not None and is_recipe(ref.path):
        if adapters:
            raise ConfigError("adapters of a merge are part of its recipe: write model: REF+FOLDER there")
        return _recipe_parts(ref.path, replace(locator, folder=ref.path.parent))
    model = locator.model(str(ref.with_type(None)))
    located = [(locator.adapter(folder), weight) for folder, weight in adapters]
    lora = [{"adapter": place.label, "weight": weight} for place, weight in located]
    text = yaml.safe_dump({"base": model.label, "lora": lora}, sort_keys=False)
    name = "-".join([model.name, *(place.name for place, _ in located)])
    place = located[0][0].directory
    return Parts(place, _plain(name), text, {str(ref): model}, {str(ref): located})


def _recipe_parts(path: Path, locator: Locator) -> Parts:
    """Find a recipe's parts; `model+adapter` is split, unless there is a folder of that name."""
    recipe = read_recipe(path)
    models: dict[str, ModelLocation] = {}
    adapters: dict[str, Sequence[Adapter]] = {}
    for text in recipe.models:
        whole = any((folder / text).exists() for folder in (Path(), path.parent))
        base, _, adapter = (text, "", "") if whole else text.partition("+")
        models[text] = locator.model(base)
        if adapter:
            adapters[text] = [(locator.adapter(adapter), 1.0)]
    return Parts(path, _plain(path.stem), recipe.text, models, adapters, recipe)


def _plain(name: str) -> str:
    """Return a name that a model may have: letters, digits, single - _ . and one /."""
    parts = [re.sub(r"[^A-Za-z0-9._]+|-{2,}|\.{2,}", "-", part).strip("-.")[:90] for part in name.split("/")]
    return "/".join(part or "model" for part in parts)


def _open_lora(parts: Parts) -> ComposedCheckpoint:
    ((text, place),) = parts.models.items()
    with ExitStack() as stack:
        model = _adapted(stack.enter_context(place.open()), parts.adapters[text])
        composed = _assemble(parts, place, model.config, model.tensors, stack, model.tokenizer_folder)
        stack.pop_all()
        return composed


def _open_merge(parts: Parts, recipe: Recipe) -> ComposedCheckpoint:
    with ExitStack() as stack:
        checkpoints = {
            text: stack.enter_context(Checkpoint.open(place.directory))
            for text, place in parts.models.items()
        }
        models = {}
        for text, checkpoint in checkpoints.items():
            models[text] = _adapted(checkpoint, parts.adapters.get(text, ()))
            stack.callback(models[text].tensors.close)
        sources, output = equally_tied(
            {text: (model.config, model.tensors) for text, model in models.items()}
        )
        configs = {text: model.config for text, model in models.items()}
        config = merge_config(recipe, configs) | output
        check_tokenizers(recipe, {text: place.directory for text, place in parts.models.items()})
        plan = plan_tensors(
            recipe,
            {
                text: MergeModel(tensors.entries, n_layers_of(configs[text]))
                for text, tensors in sources.items()
            },
        )
        tensors = MergeSource(recipe.method, sources, plan)
        donor = parts.models[recipe.tokenizer_model]
        tokenizer = models[recipe.tokenizer_model].tokenizer_folder
        composed = _assemble(parts, donor, config, tensors, stack, tokenizer)
        stack.pop_all()
        return composed


def check_tokenizers(recipe: Recipe, directories: Mapping[str, Path]) -> None:
    """Check that all models number their tokens alike, if the recipe has a `tokenizer_source`.

    The tokenizer of a merge is one model's. Without `tokenizer_source` rows of embeddings are merged by their
    numbers, whatever tokens they stand for. Raises CheckpointError.
    """
    if recipe.tokenizer_source is None:
        return
    expected = _vocabulary(directories[recipe.tokenizer_model])
    for model, directory in directories.items():
        if _vocabulary(directory) != expected:
            raise CheckpointError(
                f"{model} numbers its tokens otherwise than {recipe.tokenizer_model}, and embeddings can't be"
                " put in another order here; merge models of one vocabulary, or leave out tokenizer_source to"
                " merge rows by number"
            )


def _vocabulary(directory: Path) -> Any:
    """Return a value that is equal for equal vocabularies: tokens with numbers, else the files' sha256."""
    whole = optional_json_object(directory / "tokenizer.json")
    if whole is None:
        return {
            name: hashlib.sha256(read_bounded(directory / name)).hexdigest()
            for name in (*_VOCABULARY_FILES[1:], "merges.txt", "added_tokens.json")
            if (directory / name).is_file()
        }
    model = whole.get("model")
    added = whole.get("added_tokens")
    tokens = model.get("vocab") if isinstance(model, dict) else None
    added_tokens = [
        (token.get("content"), token.get("id"))
        for token in (added if isinstance(added, list) else [])
        if isinstance(token, dict)
    ]
    return tokens, added_tokens


@dataclass(frozen=True)
class _Adapted:
    """A checkpoint with its adapters. A `tokenizer_folder` has other tokens than the checkpoint's own."""

    tensors: TensorSource
    config: Mapping[str, Any]
    tokenizer_folder: Path | None = None


def _adapted(checkpoint: Checkpoint, adapters: Sequence[Adapter]) -> _Adapted:
    if not adapters:
        return _Adapted(checkpoint.tensors, checkpoint.config)
    folders = [(place.directory, weight) for place, weight in adapters]
    source = LoraSource(checkpoint.tensors, folders, checkpoint.config)
    return _Adapted(source, source.config, source.tokenizer_folder)


def _assemble(
    parts: Parts,
    donor: ModelLocation,
    config: Mapping[str, Any],
    tensors: TensorSource,
    stack: ExitStack,
    tokenizer_folder: Path | None,
) -> ComposedCheckpoint:
    temporary = tempfile.TemporaryDirectory(prefix="corral-merge-")
    stack.callback(temporary.cleanup)
    folder = Path(temporary.name)
    files = {str(path.relative_to(donor.directory)): path for path in small_files(donor.directory)}
    if tokenizer_folder is not None:
        files = with_tokenizer_of(tokenizer_folder, files)
    for name, path in files.items():
        place = folder / name
        place.parent.mkdir(exist_ok=True)
        place.symlink_to(path.absolute())
    (folder / "config.json").write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
    (folder / _CARD).write_text(_card(parts, donor), encoding="utf-8")
    return ComposedCheckpoint(folder, dict(config), tensors, temporary=temporary)


def small_files(directory: Path) -> list[Path]:
    """Return a model's files that are neither weights nor its config.json nor card: tokenizer, template …

    The settings of sentence-transformers' modules are among them.
    """
    try:
        return [
            path
            for path in (
                *sorted(directory.iterdir()),
                *sorted((directory / TEMPLATES_FOLDER).glob("*.jinja")),
            )
            if path.is_file()
            and not _WEIGHT_FILE.fullmatch(path.name)
            and path.stat().st_size <= _SMALL_BYTES
        ] + [
            path
            for path in sorted(directory.glob("*/config.json"))
            if re.fullmatch(MODULE_FOLDER, path.parent.name) and path.stat().st_size <= _SMALL_BYTES
        ]
    except OSError as error:
        raise QuantizationError(f"{directory} can't be read: {error.strerror}; check it") from error


def with_tokenizer_of(folder: Path, files: Mapping[str, Path]) -> dict[str, Path]:
    """Return a model's small files with the tokenizer of this folder in place of its own, if it has one."""
    own = {str(path.relative_to(folder)): path for path in small_files(folder)}
    if not own.keys() & set(_VOCABULARY_FILES):
        return dict(files)
    return {name: path for name, path in files.items() if not _is_tokenizer_file(name)} | {
        name: path for name, path in own.items() if _is_tokenizer_file(name)
    }


def _is_tokenizer_file(name: str) -> bool:
    return name in TOKENIZER_FILES or name.startswith(f"{TEMPLATES_FOLDER}/")


def _card(parts: Parts, donor: ModelLocation) -> str:
    """Return a model card, which names the parts as the Hub and GGUF's metadata do, and has the recipe."""
    front: dict[str, Any] = {"base_model": [place.name for place in parts.locations], "tags": ["merge"]}
    kept = ("license", "license_name", "license_link", "language")
    front |= {key: value for key, value in _front(donor.directory / _CARD).items() if key in kept}
    lines = "".join(f"- {place.label}\n" for place in parts.locations)
    return (
        f"---\n{yaml.safe_dump(front, sort_keys=False)}---\n"
        f"Merged with Corral {VERSION} of\n\n{lines}\nby this recipe:\n\n```yaml\n{parts.text.strip()}\n```\n"
    )


def _front(card: Path) -> dict[str, Any]:
    """Return a model card's fields; none if it has no readable ones."""
    try:
        match = _FRONT.match(card.read_text(encoding="utf-8")[:_SMALL_BYTES])
        fields = yaml.safe_load(match[1]) if match else None
    except (OSError, ValueError, yaml.YAMLError, RecursionError):
        return {}
    return fields if isinstance(fields, dict) else {}
