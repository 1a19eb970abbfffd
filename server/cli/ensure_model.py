"""From a reference to a file that can be served: found in the store, or downloaded and quantized.

Quantizing happens in a process of its own (`corral quantize`): this one goes on to serve, and the process
that serves HTTP never loads llama.cpp.
"""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Sequence
from types import FrameType

import typer

from models.demo import DEMO_DIR
from models.errors import CorralError
from models.quantization_types import DEFAULT_TYPES, PREFERRED_TYPES
from models.reference import ModelRef
from models.store.fingerprint import fingerprint
from models.store.store import ModelStore, StoredModel
from server.cli.console import say
from server.supervisor.catalogue import CatalogueEntry, file_entry, store_entry

TERMINATED = 143


def obtain(ref: ModelRef, store: ModelStore, default_type: str) -> CatalogueEntry:
    """The file that serves `ref`; without a type in it, the default type, or another one that is here.

    Raises what downloading raises, and typer.Exit when quantizing has failed and said why.
    """
    if ref.path is not None and ref.path.is_file():
        return file_entry(ref.path)
    model = store.find(ref, _revision_now(ref))
    missing = missing_types(ref, model, default_type)
    if missing:
        say(f"{ref} is not here yet: making {', '.join(missing)}")
        make(ref, missing, store)
        model = store.get(ref)
    assert model is not None, "no type is missing only of a model that is there"
    return store_entry(model, model.types[ref.type or best_type(model, default_type)])


def missing_types(ref: ModelRef, model: StoredModel | None, default_type: str) -> tuple[str, ...]:
    """What is to be made before `ref` can be served, `model` being what is here of it.

    The demo is small: all three types are made at once. Of others one type is enough.
    """
    here = () if model is None else tuple(model.types)
    if ref.type is not None:
        return () if ref.type in here else (ref.type,)
    if ref.kind == "demo":
        return tuple(type_ for type_ in DEFAULT_TYPES if type_ not in here)
    return () if here else (default_type,)


def best_type(model: StoredModel, default_type: str) -> str:
    """Which of a model's types serves its plain name."""
    preferred = (default_type, *PREFERRED_TYPES, *model.types)
    return next(type_ for type_ in preferred if type_ in model.types)


def make(ref: ModelRef, types: Sequence[str], store: ModelStore) -> None:
    """Pull a ready GGUF; quantize anything else. Progress goes to stderr."""
    if ref.kind == "hub":
        from models.hub import download

        if download.plan(ref, paths=store.paths).kind == "gguf":
            _run_corral("pull", str(ref))
            return
    flags = [argument for type_ in types for argument in ("--type", type_)]
    _run_corral("quantize", str(ref.with_type(None)), *flags)


def _revision_now(ref: ModelRef) -> str | None:
    """What local weights are now: files made of earlier ones don't count. None: any revision will do."""
    if ref.kind == "demo":
        return fingerprint(DEMO_DIR, contents=True)
    return None if ref.path is None else fingerprint(ref.path)


def _run_corral(command: str, *arguments: str) -> None:
    """Run a command of ours in its own process; it writes to our stderr and ends when we do."""

    def end(_number: int, _frame: FrameType | None) -> None:
        raise typer.Exit(TERMINATED)

    before = signal.signal(signal.SIGTERM, end)
    try:
        process = subprocess.Popen(
            [sys.executable, "-m", "server.cli", command, *arguments], stdout=subprocess.DEVNULL
        )
        try:
            code = process.wait()
        except BaseException:
            process.terminate()
            process.wait()
            raise
    finally:
        signal.signal(signal.SIGTERM, before)
    if code < 0:
        raise CorralError(
            f"corral {command} {arguments[0]} was ended by {signal.Signals(-code).name}; run it alone"
        )
    if code != 0:
        raise typer.Exit(code)
