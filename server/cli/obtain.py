"""From a reference to a file that can be served: found in the store, or downloaded and quantized."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from models.reference import DEFAULT_TYPES, ModelRef
from models.store import ModelStore, StoredModel
from server.cli.console import say
from server.cli.progress import byte_progress
from server.supervisor.catalogue import PREFERRED_TYPES, CatalogueEntry
from server.supervisor.sources import file_entry, stored_entry

if TYPE_CHECKING:
    from quantize.service import QuantizationOutcome


def obtain(ref: ModelRef, store: ModelStore, default_type: str) -> CatalogueEntry:
    """The file that serves `ref`; without a type in it, the default type, or another one that is here.

    Raises what downloading and quantizing raise.
    """
    if ref.path is not None and ref.path.is_file():
        return file_entry(ref.path)
    model = _found(ref, store)
    if model is None:
        make(ref, missing_types(ref, default_type), store)
        model = store.get(ref)
    types = model.types
    preferred = (default_type, *PREFERRED_TYPES, *types)
    chosen = ref.type or next(type_ for type_ in preferred if type_ in types)
    return stored_entry(model, types[chosen])


def missing_types(ref: ModelRef, default_type: str) -> Sequence[str]:
    """What to make of a model of which nothing is here. The demo is small, and shows all three."""
    if ref.type is not None:
        return (ref.type,)
    return DEFAULT_TYPES if ref.kind == "demo" else (default_type,)


def make(ref: ModelRef, types: Sequence[str], store: ModelStore) -> QuantizationOutcome:
    """Download and quantize `ref` into the store, with progress."""
    from quantize.service import quantize_reference

    say(f"{ref} is not here yet: making {', '.join(types)}")
    with byte_progress("download") as downloaded, byte_progress("quantize") as quantized:
        return quantize_reference(
            ref,
            types,
            store=store,
            on_download=lambda p: downloaded(p.bytes_done, p.bytes_total),
            on_progress=lambda p: quantized(p.source_bytes_read, p.source_bytes),
        )


def _found(ref: ModelRef, store: ModelStore) -> StoredModel | None:
    return store.find(ref)
