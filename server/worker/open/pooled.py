"""The opener of pooled models, encoders without a decoder; it refuses them: nothing serves them yet."""

from __future__ import annotations

from models.errors import ModelLoadError
from server.worker.open.parts import LoadedFile, LoadedModel
from server.worker.run.context_decoder import DecodeListener


def open_pooled(file: LoadedFile, _listener: DecodeListener) -> LoadedModel:
    """Refuse a pooled model: nothing serves embeddings yet. Raises ModelLoadError."""
    raise generates_no_text(file)


def generates_no_text(file: LoadedFile) -> ModelLoadError:
    """Return the error for a model that can't be served because it doesn't generate text."""
    return ModelLoadError(
        f"{file.info.path.name} ({file.model.desc}) doesn't generate text; serve a decoder model"
    )
