"""The projector of Idefics 3 and SmolVLM: a SigLIP tower, squares of whose patches are joined."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Final

from quantize.architectures.base.config import ModelConfig
from quantize.architectures.base.projector import GELU, Projector, siglip_rules
from quantize.architectures.base.rules import TensorRule
from quantize.gguf.header import Metadata, boolean, uint32

USUAL_FACTOR: Final = 2
"""The side of the squares of patches where config.json doesn't say."""


class SmolVLMProjector(Projector):
    """SmolVLMForConditionalGeneration and Idefics3ForConditionalGeneration."""

    huggingface_names: ClassVar[tuple[str, ...]] = (
        "Idefics3ForConditionalGeneration",
        "SmolVLMForConditionalGeneration",
    )
    kind = "idefics3"
    own_prefixes: ClassVar[tuple[str, ...]] = ("vision_model.", "connector.")
    usual: ClassVar[Mapping[str, Any]] = {
        "hidden_size": 1152,
        "intermediate_size": 3072,
        "num_hidden_layers": 12,
        "num_attention_heads": 16,
        "image_size": 224,
        "patch_size": 32,
    }

    @property
    def factor(self) -> int:
        """The patches, by the side of a square, that become a token."""
        return self.model.size("scale_factor", USUAL_FACTOR)

    def metadata(self) -> Metadata:
        self.check_one_of("hidden_act", GELU, GELU[0])
        size = self.files.preprocessor.section("size") or ModelConfig({})
        return super().metadata() | {
            "clip.use_gelu": boolean(True),
            "clip.vision.projector.scale_factor": uint32(self.factor),
            "clip.vision.preproc_image_size": uint32(size.size("longest_edge", self.image_size)),
        }

    def tensor_rules(self) -> Sequence[TensorRule]:
        n_joined = self.n_embd * self.factor**2
        return [
            *siglip_rules(self, "model.vision_model."),
            TensorRule(
                "mm.model.fc.weight",
                ("model.connector.modality_projection.proj.weight",),
                (self.n_embd_text, n_joined),
            ),
        ]
