"""Every family that is tested: the lists of the files beside this one, joined."""

from __future__ import annotations

from tests.quantize.families import encoders, group_b, group_c, llama_like
from tests.quantize.families.family import Family

ALL_FAMILIES: tuple[Family, ...] = (
    *llama_like.FAMILIES,
    *group_b.FAMILIES,
    *group_c.FAMILIES,
    *encoders.FAMILIES,
)
