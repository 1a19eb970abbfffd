"""Kimi's models that see, text only: DeepSeek V3 with the fields and names of a part. Kimi K2 is a V3."""

from __future__ import annotations

from typing import ClassVar

from quantize.architectures.base.config import ModelConfig
from quantize.architectures.families.deepseek2 import Deepseek3


class Kimi(Deepseek3):
    """The text part of KimiVLForConditionalGeneration and KimiK25ForConditionalGeneration."""

    huggingface_names: ClassVar[tuple[str, ...]] = (
        "KimiVLForConditionalGeneration",
        "KimiK25ForConditionalGeneration",
        "Kimi_K25ForConditionalGeneration",
    )
    ignored_prefixes = ("vision_tower.", "multi_modal_projector.", "mm_projector.")

    def __init__(self, config: ModelConfig) -> None:
        super().__init__(config.with_section("text_config").with_aliases(self.aliases))
