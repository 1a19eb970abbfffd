"""`update_model`: the newest weights of a model that is here, in the types that it is here in."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from models.errors import ModelNotFound
from models.gguf.projector import projector_numbers
from models.reference import ModelRef
from models.store.store import ModelStore, StoredModel
from quantize.control import JobControl


@dataclass(frozen=True)
class Update:
    """The end of an update. Without a new revision nothing was made."""

    name: str
    types: tuple[str, ...]
    old_revision: str | None
    new_revision: str | None

    @property
    def is_new(self) -> bool:
        """True if the source had changed."""
        return self.old_revision != self.new_revision

    def document(self) -> dict[str, Any]:
        """Return it for programs."""
        return {
            "name": self.name,
            "types": list(self.types),
            "updated": self.is_new,
            "old_revision": self.old_revision,
            "revision": self.new_revision,
        }


def update_model(ref: ModelRef, store: ModelStore, control: JobControl | None = None) -> Update:
    """Fetch what has changed at the model's source, and make its types again of that.

    Of the Hub's files only those that changed are fetched; a model at a fixed commit never changes. What was
    published before stays beside it, for servers that have it open. Raises ModelNotFound for a model that
    isn't here, and what downloading and quantizing raise.
    """
    from quantize.job.ensure_model import make_model

    control = control or JobControl()
    old = store.get(ref)
    _require_own(old)
    types = tuple(old.types) if ref.type is None else (ref.type,)
    source = _source_of(ref, old)
    if source.kind == "hub" and _is_linked(old, types):
        for type_ in types:
            make_model(source.with_type(type_), (), store, control)
    else:
        from quantize.job.request import QuantizeOptions
        from quantize.job.service import quantize_reference  # this loads llama.cpp

        numbers = _projector_numbers(old)
        options = QuantizeOptions(projector=numbers, with_projector=numbers is not None)
        quantize_reference(source, types, store=store, options=options, control=control)
    new = store.get(ref)
    return Update(new.name, types, old.revision, new.revision)


def _projector_numbers(model: StoredModel) -> str | None:
    """Return the numbers of the projector that a model has, which it is to have again; None without one."""
    projector = model.manifest.projector
    return None if projector is None else projector_numbers(projector.type)


def _require_own(model: StoredModel) -> None:
    """Raise ModelNotFound for a model that another program has and updates."""
    source = model.manifest.source
    if source.program is not None:
        raise ModelNotFound(
            f"{model.name} is {source.program}'s; update it there, then run: corral import {source.program}"
            f" {source.title}"
        )


def _source_of(ref: ModelRef, model: StoredModel) -> ModelRef:
    """Return where the model came from, at the branch that was asked for then."""
    source = model.manifest.source
    if source.recipe is not None:
        raise ModelNotFound(
            f"{model.name} is a merge, or has adapters in it; make it again with the command that made it"
        )
    if source.kind == "hub":
        at = f"@{source.requested}" if source.requested else ""
        return ModelRef.parse(f"{source.repo}{at}")
    if source.kind == "path" and source.path is not None:
        return ModelRef.parse(source.path)
    return ref.with_type(None)


def _is_linked(model: StoredModel, types: tuple[str, ...]) -> bool:
    """True if the files are the Hub's own."""
    return all(model.types[type_].linked for type_ in types)
