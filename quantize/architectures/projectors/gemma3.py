"""Gemma 3's projector: a SigLIP tower, squares of whose patches are averaged and normalized."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from quantize.architectures.base.projector import GELU, Projector, siglip_rules
from quantize.architectures.base.rules import TensorRule
from quantize.architectures.base.transform import Plus
from quantize.gguf.header import Metadata, boolean, uint32

USUAL_TOKENS = 256
"""The tokens of a picture where no file says how many."""
USUAL_FACTOR = 4
"""llama.cpp averages squares of so many patches a side where the file doesn't say."""


class Gemma3Projector(Projector):
    """Gemma3ForConditionalGeneration."""

    huggingface_names: ClassVar[tuple[str, ...]] = ("Gemma3ForConditionalGeneration",)
    kind = "gemma3"
    own_prefixes: ClassVar[tuple[str, ...]] = ("vision_tower.", "multi_modal_projector.")
    renames: ClassVar[tuple[tuple[str, str], ...]] = (("vision_tower.vision_model.", "vision_tower."),)
    usual: ClassVar[Mapping[str, Any]] = {
        "hidden_size": 768,
        "intermediate_size": 3072,
        "num_hidden_layers": 12,
        "num_attention_heads": 12,
        "image_size": 224,
        "patch_size": 16,
    }
    always_f16: ClassVar[frozenset[str]] = frozenset({"mm.input_projection.weight"})

    @property
    def factor(self) -> int:
        """The patches, by the side of a square, whose average becomes a token."""
        n_tokens = self.files.preprocessor.size("image_seq_length", USUAL_TOKENS)
        return (self.image_size // self.patch_size) // math.isqrt(n_tokens)

    def metadata(self) -> Metadata:
        self.check_one_of("hidden_act", GELU, GELU[0])
        keys: Metadata = {"clip.use_gelu": boolean(True)}
        if self.factor > 0 and self.factor != USUAL_FACTOR:
            keys["clip.vision.projector.scale_factor"] = uint32(self.factor)
        return super().metadata() | keys

    def is_needless(self, name: str) -> bool:
        """Tell whether a tensor isn't needed: the text model's, or the tower's own head, which sums up."""
        return super().is_needless(name) or name.removeprefix("model.").startswith("vision_tower.head.")

    def tensor_rules(self) -> Sequence[TensorRule]:
        projection = (self.n_embd, self.n_embd_text)
        return [
            *siglip_rules(self, "vision_tower."),
            TensorRule(
                "mm.input_projection.weight",
                ("multi_modal_projector.mm_input_projection_weight",),
                projection,
            ),
            TensorRule(
                "mm.soft_emb_norm.weight",
                ("multi_modal_projector.mm_soft_emb_norm.weight",),
                (self.n_embd,),
                Plus(1.0),
            ),
        ]
