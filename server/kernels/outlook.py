"""`expects_panels`: tells, without loading llama.cpp, if a worker will use our kernels for a model.

A worker checks the kernels before it uses them; who only counts memory, or asks for many models at once,
goes by this.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Collection, Mapping
from functools import cache
from pathlib import Path

from models.gguf.info import GGUFInfo
from models.machine.hardware import probe_cpu
from models.machine.kernel_file import installed_file
from server.serve_options import ServeOptions

LIBRARY_VARIABLE = "CORRAL_KERNELS_LIBRARY"
"""It names another file than the one beside llama.cpp's libraries: for developers and tests."""
SET_VARIABLE = "CORRAL_KERNELS_SET"
"""It names an instruction set to use in place of the best one."""
TYPES = frozenset({"Q4_K", "Q5_K", "Q6_K", "IQ4_XS", "Q4_0", "IQ4_NL", "Q8_0", "F16", "BF16", "F32"})
"""The types with kernels for the set that is used by itself."""
FLAGS = frozenset({"avx2", "fma", "f16c"})
"""A processor with these features has a set that is used by itself."""
PANEL_SHARE = 0.5
"""Corral's kernels compute a model if they do so many of its matrices' bytes."""


def expects_panels(info: GGUFInfo, options: ServeOptions, env: Mapping[str, str] = os.environ) -> bool:
    """Return True if a worker on this machine's CPU will compute the most of the model with our kernels."""
    if options.kernels == "off" or not options.use_extra_bufts or not is_in_panels(info, TYPES):
        return False
    return is_usable(env.get(LIBRARY_VARIABLE, "").strip(), env.get(SET_VARIABLE, "").strip(), cpu_flags())


def is_usable(library: str, set_name: str, flags: Collection[str], system: str = sys.platform) -> bool:
    """Return True if the library is there and the processor has a set of it, or one was named."""
    path = Path(library) if library else installed_file()
    return system == "linux" and path is not None and path.is_file() and (bool(set_name) or {*flags} >= FLAGS)


def is_in_panels(info: GGUFInfo, types: Collection[str]) -> bool:
    """Return True if the most of a model's matrices are of these types, which have kernels."""
    return panel_share(info, types) >= PANEL_SHARE


def panel_share(info: GGUFInfo, types: Collection[str]) -> float:
    """Return the part, 0 to 1, of the bytes of a model's matrices that are of these types.

    Token embeddings are looked up, not multiplied.
    """
    sizes = [
        (one.type in types, one.nbytes)
        for one in info.tensors
        if len(one.shape) > 1 and one.name != "token_embd.weight"
    ]
    ours, all_ = sum(nbytes for is_ours, nbytes in sizes if is_ours), sum(nbytes for _, nbytes in sizes)
    return ours / max(1, all_)


@cache
def cpu_flags() -> frozenset[str]:
    """Return the processor's features, which don't change."""
    return probe_cpu().flags
