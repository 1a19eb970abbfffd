"""Every family that is tested: the lists of this folder, joined."""

from __future__ import annotations

from tests.quantize.families import decoders, deepseek, encoders, gpt_like, llama_like
from tests.quantize.families.family import Family

ALL_FAMILIES: tuple[Family, ...] = (
    *llama_like.FAMILIES,
    *decoders.FAMILIES,
    *gpt_like.FAMILIES,
    *deepseek.FAMILIES,
    *encoders.FAMILIES,
)
