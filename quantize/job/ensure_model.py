"""From a reference to a file that can be served: one that is here, or is made first.

Nothing here loads llama.cpp before a model has to be quantized, and then only `make_model` does: a server
gives another maker, which quantizes in a process of its own.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from models.demo import DEMO_DIR
from models.errors import ModelNotFound
from models.quantization_types import DEFAULT_TYPES, PREFERRED_TYPES
from models.reference import ModelRef
from models.store.fingerprint import fingerprint
from models.store.store import ModelStore, StoredFile, StoredModel
from quantize.control import JobControl

Make = Callable[[ModelRef, Sequence[str], ModelStore], None]
"""A function that makes types of a model in the store, as `make_model` does."""


@dataclass(frozen=True)
class EnsuredFile:
    """A GGUF file that serves a reference. `model` and `file`: the store's; None for a file outside of it."""

    path: Path
    model: StoredModel | None = None
    file: StoredFile | None = None


def ensure_model(ref: ModelRef, store: ModelStore, default_type: str, make: Make) -> EnsuredFile:
    """Return the file that serves `ref`; `make` makes it first where it is missing.

    Without a type in the reference it is the default type, or else the first of the preferred types that is
    here. Raises what `make` raises.
    """
    if ref.path is not None and ref.path.is_file():
        return EnsuredFile(ref.path)
    model = store.find(ref, _revision_now(ref))
    missing = missing_types(ref, model, default_type)
    if missing:
        require_source(ref, store)
        make(ref, missing, store)
        model = store.get(ref)
    assert model is not None, "no type is missing only of a model that is there"
    file = model.types[ref.type or best_type(model, default_type)]
    return EnsuredFile(file.path, model, file)


def require_source(ref: ModelRef, store: ModelStore) -> None:
    """Raise ModelNotFound for a model of another program: nothing else can be made of its name.

    A name with an owner is the Hub's, too, where there may be more of it.
    """
    model = store.find(ref.with_type(None))
    if model is not None and "/" not in model.name and model.manifest.source.program is not None:
        path = next(iter(model.types.values())).path
        raise ModelNotFound(
            f"{model.name} is {model.manifest.source.program}'s, imported as {' '.join(model.types)}; another"
            f" type can be made of its file: corral quantize {path}"
        )


def missing_types(ref: ModelRef, model: StoredModel | None, default_type: str) -> tuple[str, ...]:
    """Return the types to be made before `ref` can be served, when `model` is here of it.

    The demo is small: with its first type the usual three are made at once. Of others one type is enough.
    """
    here = () if model is None else tuple(model.types)
    if ref.type is not None:
        return () if ref.type in here else (ref.type,)
    if ref.kind == "demo":
        wanted = dict.fromkeys((*DEFAULT_TYPES, default_type))
        return () if default_type in here else tuple(type_ for type_ in wanted if type_ not in here)
    return () if here else (default_type,)


def best_type(model: StoredModel, default_type: str) -> str:
    """Return the type that serves the model's plain name."""
    preferred = (default_type, *PREFERRED_TYPES, *model.types)
    return next(type_ for type_ in preferred if type_ in model.types)


def is_ready_gguf(ref: ModelRef, store: ModelStore) -> bool:
    """True if the Hub has the model as a GGUF that needs no quantizing. Raises HubError, ModelNotFound."""
    from models.hub import download  # the Hub's client is slow to import, and mostly not needed

    return ref.kind == "hub" and download.plan(ref, paths=store.paths).kind == "gguf"


def make_model(
    ref: ModelRef, types: Sequence[str], store: ModelStore, control: JobControl | None = None
) -> None:
    """Download a ready GGUF, quantize anything else, in this process. Raises what either raises."""
    control = control or JobControl()
    if is_ready_gguf(ref, store):
        from models.hub import download
        from models.hub.link_download import link_download

        plan = download.plan(ref, paths=store.paths)
        download.run(plan, control.on_download, control.cancel, paths=store.paths)
        link_download(plan, ref, store)
        return
    from quantize.job.service import quantize_reference  # this loads llama.cpp

    quantize_reference(ref.with_type(None), types, store=store, control=control)


def _revision_now(ref: ModelRef) -> str | None:
    """Return the revision of local weights: files made of earlier ones don't count. None: any will do."""
    if ref.kind == "demo":
        return fingerprint(DEMO_DIR, contents=True)
    return None if ref.path is None else fingerprint(ref.path)
