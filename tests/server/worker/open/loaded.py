"""Models loaded in the test's own process, by the door that the worker uses."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from server.ipc.model_spec import ModelSpec
from server.serve_options import SERVE_SETTINGS, ServeOptions
from server.worker.open.loading import load
from server.worker.open.parts import LoadedModel


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
