"""A model of the Hub before it is downloaded: family, licence, forms, and the sizes of its types."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from models.errors import CheckpointError, CorralError, InvalidReference, ModelNotFound
from models.gguf.projector import is_projector_name
from models.hub import download as hub
from models.hub.download import HubSettings
from models.hub.files import sizes
from models.quantization_types import TABLE
from models.reference import ModelRef
from models.store.store import ModelStore
from quantize.architectures.registry import architecture_of
from quantize.checkpoint.json_file import optional_json_object
from quantize.gguf.general_metadata import model_card
from quantize.job.request import QuantizeOptions
from quantize.job.service import quantize_reference
from quantize.plan.plan import QuantizationPlan
from quantize.run.options import RunOptions

TYPES = tuple(row.name for row in TABLE if row.written and not row.needs_imatrix)
"""The types whose sizes are told: those that can be made of the weights alone."""
_CARDS = ("README.md", "config.json", "quantize_config.json", "quant_config.json", "hf_quant_config.json")


@dataclass(frozen=True)
class HubDescription:
    """The forms in which a repository has a model, and what can be made of it."""

    repo: str
    commit: str
    architectures: tuple[str, ...]
    """The `architectures` of config.json."""
    family: str | None
    """llama.cpp's name of the architecture; None for one that can't be quantized here."""
    license: str | None
    """The licence as the model card has it, with its name and link where it is no common one."""
    weights_bytes: int | None
    """The bytes of the weights that would be quantized; None where there are ready GGUFs alone."""
    weights_form: str | None
    """The numbers of the weights, or the method they were quantized by, as config.json says."""
    ggufs: Mapping[str, int]
    """The bytes of each ready GGUF by its type, the smallest first."""
    projectors: tuple[str, ...]
    """The files with what lets the model see or hear."""
    plan: QuantizationPlan | None
    """A plan of all `TYPES`, exact to the byte; None without weights that can be planned, see `problem`."""
    problem: str | None


def describe(ref: ModelRef, store: ModelStore) -> HubDescription:
    """Describe a model of the Hub; of its weights only the headers are read.

    Raises InvalidReference for another kind of model, and what listing a repository raises: HubUnreachable,
    AccessDenied, ModelNotFound, HubError.
    """
    if ref.kind != "hub" or ref.repo is None:
        raise InvalidReference(f"{ref} is not on the Hub; of a model that is here, ask corral show {ref}")
    settings = HubSettings.from_environment()
    commit, files = hub.list_files(ref, settings)
    ggufs, weights_bytes = sizes(ref.repo, files)
    small = _small_files(ref, store, settings)
    config, card = small or ({}, {})
    named = config.get("architectures")
    plan, problem = None, None
    if weights_bytes is not None:
        try:
            plan = _plan(ref, store)
        except CheckpointError as error:
            problem = error.message
    return HubDescription(
        repo=ref.repo,
        commit=commit,
        architectures=tuple(map(str, named)) if isinstance(named, list) else (),
        family=plan.architecture if plan is not None else _family(config),
        license=_license(card),
        weights_bytes=weights_bytes,
        weights_form=None if weights_bytes is None else _form(config),
        ggufs=ggufs,
        projectors=tuple(file.path for file in files if is_projector_name(file.path)),
        plan=plan,
        problem=problem,
    )


def _small_files(
    ref: ModelRef, store: ModelStore, settings: HubSettings
) -> tuple[dict[str, Any], dict[str, Any]] | None:
    """Fetch the model card and the configurations; return config.json and the card's head."""
    try:
        listed = hub.plan(ref.with_type(None), _CARDS, paths=store.paths, settings=settings, room=False)
    except ModelNotFound:
        return None
    folder = hub.run(listed, paths=store.paths, settings=settings)
    config = optional_json_object(folder / "config.json") or {}
    for name in _CARDS[2:]:
        if "quantization_config" not in config and (found := optional_json_object(folder / name)):
            config["quantization_config"] = found
    return config, model_card(folder)


def _plan(ref: ModelRef, store: ModelStore) -> QuantizationPlan | None:
    options = QuantizeOptions(dry_run=True, run=RunOptions(stream=True))
    return quantize_reference(ref.with_type(None), TYPES, store=store, options=options).plan


def _family(config: Mapping[str, Any]) -> str | None:
    try:
        return architecture_of(config).gguf_name or None
    except CorralError:
        return None


def _form(config: Mapping[str, Any]) -> str | None:
    quantized = config.get("quantization_config")
    if isinstance(quantized, dict):
        method = quantized.get("quant_method") or quantized.get("quant_algo") or "quantized"
        bits = quantized.get("bits") or quantized.get("w_bit")
        return f"{method}, {bits} bits" if bits else str(method)
    dtype = config.get("torch_dtype") or config.get("dtype")
    return str(dtype) if isinstance(dtype, str) else None


def _license(card: Mapping[str, Any]) -> str | None:
    kind, name, link = (card.get(key) for key in ("license", "license_name", "license_link"))
    words: Sequence[Any] = kind if isinstance(kind, list) else [kind]
    text = ", ".join(str(word) for word in words if word)
    more = ", ".join(str(part) for part in (name, link) if part)
    return f"{text} ({more})" if text and more else text or more or None
