"""Models loaded in the test's own process, by the door that the worker uses."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from models.gguf.info import read_gguf_info
from models.llamacpp.model import Model
from server.ipc.model_spec import KernelReport, ModelSpec
from server.serve_options import SERVE_SETTINGS, ServeOptions
from server.worker.open.loading import load, place_here
from server.worker.open.parts import LoadedFile, LoadedModel


class SilentListener:
    def flush(self) -> None: ...

    def decoded(self) -> None:
        pass


def spec_of(path: Path, **spec: Any) -> ModelSpec:
    """A small model's: two requests of 64 tokens at once, on one thread.

    `spec`: fields of ServeOptions and of ModelSpec.
    """
    options: dict[str, Any] = {"parallel": 2, "ctx": 64, "threads": 1}
    options |= {name: spec.pop(name) for name in SERVE_SETTINGS if name in spec}
    return ModelSpec(name="pico", path=str(path), options=ServeOptions(**options), **spec)


def file_of(model: Model, **spec: Any) -> LoadedFile:
    """A model that is loaded already, with the spec of a small one's."""
    made = spec_of(model.path, **spec)
    info = read_gguf_info(model.path)
    kernels = KernelReport()
    placement = place_here(made, info)
    return LoadedFile(spec=made, info=info, model=model, placement=placement, n_threads=1, kernels=kernels)


@contextmanager
def loaded(path: Path, **options: Any) -> Iterator[LoadedModel]:
    """A model, of which the renderer and the prefixes are closed in the end."""
    model = load(spec_of(path, **options), lambda _progress: None, SilentListener())
    try:
        yield model
    finally:
        model.renderer.close()
        if model.prefixes is not None:
            model.prefixes.close()
