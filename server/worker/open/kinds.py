"""The kinds of model that a worker can be given, and the opener of each."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final, Literal

from models.gguf.pooling import pooling_of
from server.worker.open.decoder import open_decoder
from server.worker.open.encoder_decoder import open_encoder_decoder
from server.worker.open.parts import LoadedFile, Opener
from server.worker.open.pooled import generates_no_text, open_pooled

Kind = Literal["decoder", "encoder_decoder", "pooled"]
"""A decoder goes on from a prompt in its own memory, an encoder-decoder from one that its encoder has read; a
pooled model makes one embedding or score of all of a text."""

KINDS: Final[Mapping[Kind, Opener]] = MappingProxyType(
    {"decoder": open_decoder, "encoder_decoder": open_encoder_decoder, "pooled": open_pooled}
)
"""The opener of each kind of model."""


def kind_of(file: LoadedFile) -> Kind:
    """Return the kind of a loaded model, once and for all: nobody asks the model again.

    A model whose tokens attend to later ones can't generate one by one (BERT and its like say so in their
    header), and one whose header names a pooling wasn't trained to. Raises ModelLoadError for a diffusion
    model: it is of no kind that is served.
    """
    model, options = file.model, file.spec.options
    if model.is_diffusion:
        raise generates_no_text(file)
    if not model.has_decoder or pooling_of(file.info, options.pooling) is not None:
        return "pooled"
    return "encoder_decoder" if model.has_encoder else "decoder"
