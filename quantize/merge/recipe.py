"""A merge recipe: mergekit's YAML, read strictly. Every key has an effect or is refused.

    merge_method: ties
    base_model: org/base
    models:                                   or `slices:`, each with `sources:` that have a `layer_range`
      - model: org/fine-tune                  a folder or a Hub name; `+folder` adds a PEFT adapter
        parameters: {weight: 0.6, density: 0.5}
    parameters: {normalize: true}
    dtype: bfloat16
    tokenizer_source: base

Parameters are looked up at the model, then at its slice, then here.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from models.errors import ConfigError
from quantize.checkpoint.json_file import read_bounded
from quantize.merge.methods import METHODS, Method
from quantize.merge.parameters import Setting, parse_setting, short_repr

SUFFIXES: Final = (".yaml", ".yml")
LIMIT_BYTES: Final = 2**20
"""A recipe may have at most this many bytes."""

DTYPES: Final[Mapping[str, str]] = {
    "float32": "float32",
    "float16": "float16",
    "bfloat16": "bfloat16",
    "fp32": "float32",
    "fp16": "float16",
    "bf16": "bfloat16",
}

_REFUSED: Final[Mapping[str, str]] = {
    "modules": "models of several modules can't be merged here",
    "tokenizer": "embeddings can't be put in another order here; give tokenizer_source",
    "chat_template": "the template is the tokenizer's; change it in that model's folder",
}

Settings = Mapping[str, Setting]


@dataclass(frozen=True)
class Input:
    """A model of a slice. `layers` are its first and its end; None stands for all."""

    model: str
    layers: tuple[int, int] | None
    parameters: Settings


@dataclass(frozen=True)
class Slice:
    """Layers of the result, made of as many layers of each input."""

    inputs: tuple[Input, ...]
    base_model: str | None
    parameters: Settings


@dataclass(frozen=True)
class Recipe:
    """A recipe. `dtype` is the result's, None that of the weights; `text` is the recipe as written."""

    method: Method
    slices: tuple[Slice, ...]
    base_model: str | None
    parameters: Settings
    dtype: str | None
    tokenizer_source: str | None
    text: str

    @property
    def models(self) -> tuple[str, ...]:
        """Every model that the recipe names, the base first, else in its order."""
        models = [model for model in (self.base_model, *(part.base_model for part in self.slices)) if model]
        models += [source.model for part in self.slices for source in part.inputs]
        return tuple(dict.fromkeys(models))

    @property
    def donor(self) -> str:
        """The model whose configuration the result has."""
        return self.models[0]

    @property
    def tokenizer_model(self) -> str:
        if self.tokenizer_source in (None, "base"):
            return self.donor
        assert self.tokenizer_source is not None
        return self.tokenizer_source


def is_recipe(path: Path) -> bool:
    return path.suffix.lower() in SUFFIXES and path.is_file()


def read_recipe(path: Path) -> Recipe:
    """Read a recipe. Raises ConfigError for anything that isn't as above, CheckpointError: unreadable."""
    return parse_recipe(read_bounded(path, LIMIT_BYTES), path.name)


def parse_recipe(data: bytes, name: str = "the recipe") -> Recipe:
    """Parse a recipe's text. `name` is for errors. Raises ConfigError."""
    try:
        text = data.decode()
    except UnicodeDecodeError as error:
        raise ConfigError(f"{name} isn't UTF-8 text ({error}); give a merge recipe in YAML") from error
    fields = _mapping(_load(text, name), name)
    known = {"merge_method", "models", "slices", "base_model", "parameters"}
    _check_keys(fields, known | {"dtype", "out_dtype", "tokenizer_source"}, name)
    method = _method(fields.get("merge_method"), name)
    if ("models" in fields) == ("slices" in fields):
        raise ConfigError(f"{name} must have either `models` or `slices`")
    base = _optional_model(fields.get("base_model"), f"base_model of {name}")
    if "models" in fields:
        inputs = tuple(
            _input(item, f"models of {name}", method, False) for item in _list(fields, "models", name)
        )
        slices: tuple[Slice, ...] = (Slice(_with_base(inputs, base, method), None, {}),)
    else:
        slices = tuple(_slice(item, f"slices of {name}", method) for item in _list(fields, "slices", name))
    recipe = Recipe(
        method=method,
        slices=slices,
        base_model=base,
        parameters=_settings(fields.get("parameters"), f"parameters of {name}", method),
        dtype=_dtype(fields, name),
        tokenizer_source=_optional_model(fields.get("tokenizer_source"), f"tokenizer_source of {name}"),
        text=text,
    )
    _check(recipe, name)
    return recipe


def _load(text: str, name: str) -> Any:
    import yaml

    class Loader(yaml.SafeLoader):
        pass

    def mapping(loader: yaml.SafeLoader, node: yaml.MappingNode) -> dict[Hashable, Any]:
        loader.flatten_mapping(node)
        keys = [loader.construct_object(key) for key, _ in node.value]
        twice = next((key for place, key in enumerate(keys) if key in keys[:place]), None)
        if twice is not None:
            raise ConfigError(
                f"{name} has {short_repr(twice)} twice in line {node.start_mark.line + 1} or after it"
            )
        return loader.construct_mapping(node, deep=True)

    Loader.add_constructor("tag:yaml.org,2002:map", mapping)
    try:
        return yaml.load(text, Loader)  # noqa: S506  it is a SafeLoader
    except (yaml.YAMLError, RecursionError, ValueError, TypeError) as error:
        reason = " ".join(str(error).split())
        raise ConfigError(f"{name} isn't valid YAML ({reason:.200}); correct it") from error


def _slice(value: Any, where: str, method: Method) -> Slice:
    fields = _mapping(value, where)
    _check_keys(fields, {"sources", "base_model", "parameters"}, where)
    inputs = tuple(
        _input(item, f"sources in {where}", method, True) for item in _list(fields, "sources", where)
    )
    lengths = {last - first for first, last in (source.layers or (0, 0) for source in inputs)}
    if len(lengths) > 1:
        raise ConfigError(f"{where} has sources of {sorted(lengths)} layers side by side; give equal numbers")
    base = _optional_model(fields.get("base_model"), f"base_model in {where}")
    return Slice(inputs, base, _settings(fields.get("parameters"), f"parameters in {where}", method))


def _input(value: Any, where: str, method: Method, layered: bool) -> Input:
    fields = _mapping(value, where)
    _check_keys(fields, {"model", "parameters"} | ({"layer_range"} if layered else set()), where)
    model = _optional_model(fields.get("model"), f"model in {where}")
    if model is None:
        raise ConfigError(f"{where} has an entry without a model")
    layers = None
    if layered:
        layers = _layers(fields.get("layer_range"), f"layer_range of {model} in {where}")
    return Input(model, layers, _settings(fields.get("parameters"), f"parameters of {model}", method))


def _layers(value: Any, where: str) -> tuple[int, int]:
    if (
        not isinstance(value, list)
        or len(value) != 2
        or not all(type(item) is int for item in value)
        or not 0 <= value[0] < value[1]
    ):
        raise ConfigError(f"{where} is {short_repr(value)}; give [first, end], the end not included")
    return value[0], value[1]


def _with_base(inputs: tuple[Input, ...], base: str | None, method: Method) -> tuple[Input, ...]:
    """Add a base that is named but not listed, if the method has one."""
    if not method.has_base or base is None or any(source.model == base for source in inputs):
        return inputs
    return (*inputs, Input(base, None, {}))


def _settings(value: Any, where: str, method: Method) -> dict[str, Setting]:
    if value is None:
        return {}
    fields = _mapping(value, where)
    if "int8_mask" in fields:
        raise ConfigError(f"{where} has int8_mask, which changes nothing here: masks aren't kept; remove it")
    _check_keys(fields, set(method.parameters), where, f"{method.name} has")
    return {key: parse_setting(item, f"{key} in {where}") for key, item in fields.items()}


def _dtype(fields: Mapping[str, Any], name: str) -> str | None:
    given = {key: fields[key] for key in ("dtype", "out_dtype") if fields.get(key) is not None}
    for key, value in given.items():
        if not isinstance(value, str) or value not in DTYPES:
            raise ConfigError(f"{key} of {name} is {short_repr(value)}; known are float32, float16, bfloat16")
    kinds = {key: DTYPES[value] for key, value in given.items()}
    if "out_dtype" in kinds and kinds.get("dtype", "float32") != "float32":
        raise ConfigError(
            f"{name} computes in {kinds['dtype']} and stores {kinds['out_dtype']}; here it is always"
            " computed in float32: leave out dtype, or out_dtype"
        )
    return kinds.get("out_dtype", kinds.get("dtype"))


def _method(value: Any, name: str) -> Method:
    if not isinstance(value, str) or value not in METHODS:
        known = ", ".join(METHODS)
        raise ConfigError(f"merge_method of {name} is {short_repr(value)}; known are {known}")
    return METHODS[value]


def _check(recipe: Recipe, name: str) -> None:
    """Check what concerns more than one key. Raises ConfigError."""
    if recipe.tokenizer_source == "union":
        raise ConfigError(f"{name} asks for the union of tokenizers, for which embeddings lack; give a model")
    if recipe.tokenizer_source == "base" and recipe.base_model is None:
        raise ConfigError(f"tokenizer_source of {name} is base and there is no base_model; name a model")
    if recipe.tokenizer_model not in recipe.models:
        raise ConfigError(
            f"tokenizer_source of {name} is {recipe.tokenizer_source}, none of the merged models"
        )
    method = recipe.method
    for part in recipe.slices:
        base = part.base_model or recipe.base_model
        models = [source.model for source in part.inputs]
        if len(set(models)) != len(models):
            raise ConfigError(f"{name} has a model twice side by side; add up its weights instead")
        if method.has_base and (base is None or base not in models):
            raise ConfigError(
                f"{method.name} in {name} merges into a base; give base_model, in `slices` as a source too"
            )
        if not method.has_base and part.base_model is not None:
            raise ConfigError(f"{method.name} in {name} has no use for a slice's base_model; remove it")
        if not method.accepts(len(models)):
            raise ConfigError(
                f"{method.name} in {name} merges {method.takes}, and {len(models)} are given side by side"
            )
    if not method.has_base and recipe.base_model is not None:
        listed = {source.model for part in recipe.slices for source in part.inputs}
        if recipe.base_model not in listed:
            raise ConfigError(
                f"{method.name} merges the models of its list only, and {recipe.base_model} isn't among them;"
                " list it, or remove base_model"
            )


def _check_keys(fields: Mapping[str, Any], known: set[str], where: str, who: str = "known are") -> None:
    for key in fields:
        if key in _REFUSED and key not in known:
            raise ConfigError(f"{where} has {key}: {_REFUSED[key]}")
        if key not in known:
            raise ConfigError(
                f"{where} has {short_repr(key)}, which has no meaning there; {who} {', '.join(sorted(known))}"
            )


def _mapping(value: Any, where: str) -> Mapping[str, Any]:
    if not isinstance(value, dict) or not all(isinstance(key, str) for key in value):
        raise ConfigError(f"{where} is {short_repr(value)}; it must have named fields")
    return value


def _list(fields: Mapping[str, Any], key: str, where: str) -> list[Any]:
    value = fields.get(key)
    if not isinstance(value, list) or not value:
        raise ConfigError(f"{key} of {where} is {short_repr(value)}; it must be a list of at least one")
    return value


def _optional_model(value: Any, where: str) -> str | None:
    if value is None:
        return None
    if not isinstance(value, str) or not value.strip() or not value.isprintable():
        raise ConfigError(f"{where} is {short_repr(value)}; give a folder or org/name, as text")
    return value.strip()
