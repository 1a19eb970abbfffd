"""A model's embedding and output matrix: their names among its tensors, and whether they are tied."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Final

from models.errors import CheckpointError
from quantize.architectures.base.architecture import Architecture
from quantize.architectures.registry import architecture_of
from quantize.checkpoint.source import Rows, TensorEntry, TensorSource
from quantize.merge.chunks import are_equal

TIED_FIELD: Final = "tie_word_embeddings"
_EMBEDDINGS: Final = ("embed_tokens", "wte", "word_embeddings", "embed_in", "tok_embeddings", "shared")
_HEADS: Final = ("lm_head", "embed_out")
_SCALING_TIED: Final = ("t5", "t5encoder")
"""The GGUF names of families that scale their last states where the two are one: they can't be untied."""

Entries = Mapping[str, TensorEntry]


@dataclass(frozen=True)
class OutputMatrix:
    """The names of the embedding and of the output matrix, of which a tied model's files may lack one."""

    embedding: str
    head: str
    tied: bool


def output_matrix_of(config: Mapping[str, Any], tensors: TensorSource) -> OutputMatrix | None:
    """Find both. Return None for a model that lacks them, such as an encoder, or names them otherwise.

    A model that has both, with other numbers, isn't tied, whatever its configuration says: transformers
    leaves them as they are, too.
    """
    family = _forms_of_family(config)
    if family is not None and family[0].gguf_name in _SCALING_TIED:
        return None
    entries = tensors.entries
    names = _family_names(family[1], entries) if family is not None else _usual_names(entries)
    if names is None:
        return None
    embedding, head = names
    tied = config.get(TIED_FIELD)
    if not isinstance(tied, bool):
        tied = family is not None and family[0].is_tied
    stored = [name for name in names if name in entries]
    if not stored or (not tied and len(stored) < 2):
        return None
    if tied and len(stored) == 2 and not tensors.is_stream and not are_equal(tensors, embedding, head):
        tied = False
    return OutputMatrix(embedding, head, tied)


def family_of(config: Mapping[str, Any]) -> Architecture | None:
    """Return the family of a configuration; None for one that isn't known here, or can't be read."""
    try:
        return architecture_of(config)
    except CheckpointError:
        return None


def _forms_of_family(config: Mapping[str, Any]) -> tuple[Architecture, Architecture] | None:
    """Return the family as the configuration has it, and as it is with an output matrix of its own."""
    as_it_is = family_of(config)
    if as_it_is is None:
        return None
    try:
        return as_it_is, architecture_of({**config, TIED_FIELD: False})
    except CheckpointError:  # llama.cpp's family has no place for an output matrix
        return as_it_is, as_it_is


def _family_names(family: Architecture, entries: Entries) -> tuple[str, str] | None:
    sources = {rule.name: rule.sources[0] for rule in family.tensor_rules() if len(rule.sources) == 1}
    embedding = sources.get("token_embd.weight")
    if embedding is None:
        return None
    head = sources.get("output.weight", "lm_head.weight")
    stored = {family.tensor_name(name): name for name in reversed(list(entries))}
    return stored.get(embedding, embedding), stored.get(head, head)


def _usual_names(entries: Entries) -> tuple[str, str] | None:
    def name_of(modules: Sequence[str]) -> str | None:
        return next(
            (name for name in entries if name.removesuffix(".weight").rpartition(".")[2] in modules), None
        )

    embedding, head = name_of(_EMBEDDINGS), name_of(_HEADS)
    if embedding is None and head is None:
        return None
    return embedding or "model.embed_tokens.weight", head or "lm_head.weight"


class RenamedSource(TensorSource):
    """The tensors of `base`, some of them under other names, or under several. Owns `base`."""

    def __init__(self, base: TensorSource, stored: Mapping[str, str]) -> None:
        """Offer the tensors that are the keys of `stored`; its values are their names in `base`."""
        self._base = base
        self._stored = dict(stored)
        entries = {}
        for name, own in self._stored.items():
            entry = base.entries[own]
            entries[name] = TensorEntry(name, entry.shape, entry.dtype)
        self._entries = MappingProxyType(entries)

    @property
    def entries(self) -> Entries:
        return self._entries

    @property
    def memory_bytes(self) -> int:
        return self._base.memory_bytes

    @property
    def working_itemsize(self) -> int:
        return self._base.working_itemsize

    @property
    def is_stream(self) -> bool:
        return self._base.is_stream

    def expect(self, names: Sequence[str]) -> None:
        self._base.expect(list(dict.fromkeys(self._stored[name] for name in names)))

    def rows(self, name: str, start: int, stop: int) -> Rows:
        return self._base.rows(self._stored[name], start, stop)

    def columns(self, name: str, start: int, stop: int) -> Rows:
        return self._base.columns(self._stored[name], start, stop)

    def close(self) -> None:
        self._base.close()


def with_both_names(base: TensorSource, output: OutputMatrix | None) -> TensorSource:
    """Return a tied model with its one matrix under both names; any other as it is.

    A copy of the embedding that the files have under the second name isn't read.
    """
    if output is None or not output.tied:
        return base
    stored = output.embedding if output.embedding in base.entries else output.head
    names = {name: name for name in base.entries}
    return RenamedSource(base, names | {output.embedding: stored, output.head: stored})


def commonly_named(
    models: Mapping[str, tuple[Mapping[str, Any], TensorSource]],
) -> dict[str, tuple[Mapping[str, Any], TensorSource]]:
    """Return the models of a merge with tensors under the names of their family, if any has other ones.

    One may have been saved without the base's prefix, or as a part of a model that sees.
    """
    first, *others = (tensors.entries.keys() for _, tensors in models.values())
    if all(names == first for names in others):
        return dict(models)
    return {text: (config, _by_usual_names(config, tensors)) for text, (config, tensors) in models.items()}


def _by_usual_names(config: Mapping[str, Any], tensors: TensorSource) -> TensorSource:
    family = family_of(config)
    if family is None:
        return tensors
    stored: dict[str, str] = {}
    for name in tensors.entries:
        stored.setdefault(family.tensor_name(name) or name, name)
    return tensors if all(name == own for name, own in stored.items()) else RenamedSource(tensors, stored)


def equally_tied(
    models: Mapping[str, tuple[Mapping[str, Any], TensorSource]],
) -> tuple[dict[str, TensorSource], dict[str, Any]]:
    """Return a merge's models, alike in names and output matrices, and the result's fields in config.json.

    If all are tied they are merged under the embedding's name, and the result is tied. Else a tied one takes
    part with its embedding as its output matrix, as in mergekit, and the result isn't tied.
    """
    models = commonly_named(models)
    sources = {text: tensors for text, (_, tensors) in models.items()}
    outputs = {text: output_matrix_of(config, tensors) for text, (config, tensors) in models.items()}
    if any(output is None for output in outputs.values()):
        return sources, {}
    all_tied = all(output is not None and output.tied for output in outputs.values())
    for text, output in outputs.items():
        assert output is not None
        source = sources[text]
        if not all_tied:
            sources[text] = with_both_names(source, output)
        elif output.head in source.entries:
            stored = output.embedding if output.embedding in source.entries else output.head
            names = {name: name for name in source.entries if name != output.head} | {
                output.embedding: stored
            }
            sources[text] = RenamedSource(source, names)
    return sources, {TIED_FIELD: all_tied}
