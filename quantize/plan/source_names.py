"""The tensors of a checkpoint by the names that a family's rules have for them.

A checkpoint may lack the base's prefix or have it in addition, have a layer's experts in one tensor, and of a
tied pair of matrices only one. Which of its tensors make which output is decided here, from names alone.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from models.errors import CheckpointError
from quantize.architectures.base.architecture import Architecture
from quantize.architectures.base.rules import TensorRule
from quantize.checkpoint.source import TensorEntry

_SHOWN = 5
"""The number of names that an error lists."""


@dataclass(frozen=True)
class SourceTensors:
    """Tensors by the rules' names, the rules that they fulfil, and the names of those that none reads."""

    entries: Mapping[str, TensorEntry]
    rules: tuple[TensorRule, ...]
    unused: tuple[str, ...]


def match_names(
    source: Mapping[str, TensorEntry],
    architecture: Architecture,
    has_no_effect: Callable[[str], bool] = lambda _: False,
) -> SourceTensors:
    """Find the tensors that the rules of `architecture` need; one without a place may have no effect.

    Raises CheckpointError: some are missing, or some have no place, so that the model would be another one.
    """
    entries: dict[str, TensorEntry] = {}
    names: dict[str, str | None] = {}
    for name, entry in source.items():
        names[name] = known_as = architecture.tensor_name(name)
        if known_as is not None:
            entries.setdefault(known_as, entry)
    replacement = _in_place_of_the_embedding(source, entries, architecture)
    if replacement is not None:
        embedding = architecture.tied_names[0]
        entries.pop(names[replacement] or "", None)
        names[replacement] = embedding
        entries[embedding] = source[replacement]
    rules = [_form_of(rule, entries) for rule in architecture.tensor_rules()]
    used = {name for rule in rules for name in rule.sources} | architecture.value_names
    left = [
        name for name, known_as in names.items() if known_as not in used or entries[known_as].name != name
    ]
    missing = [name for rule in rules if not rule.optional for name in rule.sources if name not in entries]
    without_place = (name for name in left if names[name] is not None and names[name] not in used)
    unknown = [name for name in without_place if missing or not has_no_effect(name)]
    if missing:
        raise CheckpointError(_lack(missing, unknown, architecture))
    if unknown:
        raise CheckpointError(
            f"the checkpoint has {_some(unknown)}, for which {architecture.gguf_name} has no place; "
            "dropping them would change the model"
        )
    present = tuple(rule for rule in rules if all(name in entries for name in rule.sources))
    return SourceTensors(entries, present, tuple(left))


def _in_place_of_the_embedding(
    source: Mapping[str, TensorEntry], entries: Mapping[str, TensorEntry], architecture: Architecture
) -> str | None:
    """Return the name of the tied matrix that was saved where the embedding wasn't, as transformers ties."""
    tied = architecture.tied_names
    if not tied or tied[0] in entries:
        return None
    found = (name for other in tied[1:] for name in source if architecture.is_spelling_of(name, other))
    return next(found, None)


def _form_of(rule: TensorRule, entries: Mapping[str, TensorEntry]) -> TensorRule:
    """Return the form of a rule that the checkpoint has; the usual one, where it has none."""
    present = (form for form in rule.forms if all(name in entries for name in form.sources))
    return next(present, rule)


def _lack(missing: Sequence[str], unknown: Sequence[str], architecture: Architecture) -> str:
    """Return the error for missing tensors, with what explains it."""
    fact = f"the checkpoint lacks {_some(missing)}"
    heads = {rule.sources for rule in architecture.tensor_rules() if rule.name == "output.weight"}
    if tuple(missing) in heads:
        return (
            f"{fact}, and by config.json (tie_word_embeddings) the embedding doesn't take its place; "
            "download it again, or set tie_word_embeddings to true if the model was trained so"
        )
    prefix = _foreign_prefix(missing, unknown)
    if prefix is not None:
        return (
            f"{fact}; it has them with {prefix!r} in front: a wrapper was saved, which transformers doesn't "
            "load either; save the model inside it"
        )
    return f"{fact}; download it again, or correct config.json"


def _foreign_prefix(missing: Sequence[str], unknown: Sequence[str]) -> str | None:
    """Return what stands before the name of each missing tensor among the unknown ones, if it is one text."""
    ends = {name: next((text for text in unknown if text.endswith(f".{name}")), None) for name in missing}
    prefixes = {None if text is None else text.removesuffix(name) for name, text in ends.items()}
    return prefixes.pop() if len(prefixes) == 1 else None


def _some(names: Sequence[str]) -> str:
    shown = ", ".join(names[:_SHOWN])
    return f"{shown} and {len(names) - _SHOWN} more tensors" if len(names) > _SHOWN else shown
