"""Where llama.cpp's converter, as in llama-cpp-python 0.3.36, can't convert a family at all: made to work.

Two are slips in generators, and what is meant is plain; two need tokenizers that the tests don't have. These
families are compared with the converter as repaired here.
"""

from __future__ import annotations

import importlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

WITH_TOKENIZERS_OF_THEIR_OWN = (("qwen", "QwenModel"), ("hunyuan", "HunYuanMoEModel"))
"""The families for which the converter needs their makers' tokenizer code; a pico model has a usual one."""


def repair_converter(checkpoint: Path) -> None:
    """Needs llama.cpp's source tree on `sys.path`."""
    _repair_qwen(importlib.import_module("conversion.qwen")._QwenMtpMixin, checkpoint)
    _repair_baichuan(importlib.import_module("conversion.baichuan").BaichuanModel)
    _repair_stablelm(importlib.import_module("conversion.stablelm").StableLMModel)
    text_model = importlib.import_module("conversion.base").TextModel
    for module, name in WITH_TOKENIZERS_OF_THEIR_OWN:
        family = getattr(importlib.import_module(f"conversion.{module}"), name)
        family.set_vocab = text_model._set_vocab_gpt2
    _repair_deepseek32(importlib.import_module("conversion.deepseek").DeepseekV32Model)
    _repair_deci(importlib.import_module("conversion.deci").DeciModel)


def _repair_qwen(family: Any, checkpoint: Path) -> None:
    """A further layer is counted on in every checkpoint, also in one without."""
    with (checkpoint / "model.safetensors").open("rb") as file:
        header = json.loads(file.read(int.from_bytes(file.read(8), "little")))
    family.no_mtp = not any("mtp." in name for name in header)


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


def _repair_deci(family: Any) -> None:
    """A byte-level vocabulary is known by its size alone, 128,256 tokens, which a tiny one hasn't."""

    def set_vocab(self: Any) -> None:
        if (self.dir_model / "tokenizer.model").is_file():
            self._set_vocab_sentencepiece()
        else:
            self._set_vocab_gpt2()

    family.set_vocab = set_vocab
