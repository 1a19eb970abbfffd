"""`VectorsOnly`: a decoder's layers in an embedder, which has no output matrix."""

from __future__ import annotations

from quantize.architectures.base.decoder import Decoder
from quantize.architectures.base.rules import TensorRule


class VectorsOnly(Decoder):
    """Makes vectors of a text, and no further tokens; it comes before the family in a class's bases."""

    def _output_rules(self, shape: tuple[int, int]) -> list[TensorRule]:
        """Return none: a vector is all that is made of a text."""
        del shape
        return []

    def is_needless(self, name: str) -> bool:
        """Tell whether no one needs a tensor: an output matrix, or the head that guesses masked tokens."""
        return name.startswith("lm_head.") or super().is_needless(name)
