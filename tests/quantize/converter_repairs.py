"""Where llama.cpp's converter, as in llama-cpp-python 0.3.36, can't convert a family at all: made to work.

What is meant is plain: these families are compared with the converter as repaired here.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from typing import Any


def repair_converter() -> None:
    """Needs llama.cpp's source tree on `sys.path`."""
    _repair_baichuan(importlib.import_module("conversion.baichuan").BaichuanModel)
    _repair_stablelm(importlib.import_module("conversion.stablelm").StableLMModel)
    _repair_deepseek32(importlib.import_module("conversion.deepseek").DeepseekV32Model)


def _repair_baichuan(family: Any) -> None:
    """Any tensor but the packed one calls itself without end."""
    original = family.modify_tensors

    def modify_tensors(self: Any, data: Any, name: str, bid: int | None) -> Iterator[Any]:
        if "W_pack" in name:
            yield from original(self, data, name, bid)
        else:
            yield self.map_tensor_name(name), data

    family.modify_tensors = modify_tensors


def _repair_stablelm(family: Any) -> None:
    """Stacked norms of heads are returned from a generator instead of yielded, and so are lost."""
    original = family.modify_tensors

    def modify_tensors(self: Any, data: Any, name: str, bid: int | None) -> Iterator[Any]:
        stacked = yield from original(self, data, name, bid)
        if stacked is not None:
            yield from stacked

    family.modify_tensors = modify_tensors


def _repair_deepseek32(family: Any) -> None:
    """The tokenizer is asked whether it adds bos, which transformers 5 doesn't tell of a tokenizer.json."""
    family.set_vocab = family._set_vocab_gpt2
