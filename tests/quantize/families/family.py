"""A family of models for its tests: the recipe of a tiny one, and our differences from the converter.

`transformers` is imported only when a model is made, which only the oracle tests do.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

Tokenizer = Literal["bpe", "spm", "unigram", "wordpiece"]
Kind = Literal["decoder", "encoder", "encoder-decoder"]
Shape = tuple[int, ...]
Config = dict[str, Any]

# What the pico tokenizers (tests/pico_tokenizer.py) have: tokens, bos and eos.
BPE_VOCABULARY = {"vocab_size": 410, "bos_token_id": 406, "eos_token_id": 408, "pad_token_id": 406}
SPM_VOCABULARY = {"vocab_size": 461, "bos_token_id": 1, "eos_token_id": 2, "pad_token_id": None}

# The names that most configurations have for the sizes of a pico model.
PICO = {
    "hidden_size": 256,
    "intermediate_size": 512,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 512,
}


@dataclass(frozen=True)
class Family:
    """One row of docs/architectures.md. `name` is that of its golden file, by which `-k` finds it.

    `model` makes a tiny random transformers model; None where transformers has none, then `shapes` gives
    config.json and the tensors' shapes as published checkpoints have them. `pre` answers for the hash by
    which the converter knows byte-level tokenizers. `exceptions` are the metadata keys (or `tensor <name>`)
    in which we differ from the converter, with the reasons.
    """

    name: str
    architecture: str
    model: Callable[[], Any] | None = None
    tokenizer: Tokenizer = "bpe"
    exceptions: Mapping[str, str] = field(default_factory=dict)
    shapes: Callable[[], tuple[Config, dict[str, Shape]]] | None = None
    config: Mapping[str, Any] = field(default_factory=dict)
    """The fields that replace those of the config.json that transformers writes; None removes one."""
    nulls: tuple[str, ...] = ()
    """The fields that are null in config.json, as published files have them; other nulls are left out."""
    tensors: Callable[[dict[str, Shape]], dict[str, Shape]] | None = None
    """A change from the tensors that transformers saves to those of the Hub's checkpoints."""
    edit: Callable[[Any], None] | None = None
    """A change of the written folder (a Path): tokenizer files."""
    reference: Callable[[Path], dict[str, Any]] | None = None
    """A function that computes the golden record of a folder, where transformers doesn't know the model and
    the converter's file is wrong."""
    kind: Kind = "decoder"
    dtype: Literal["F32", "F16", "BF16"] = "F32"
    embedding_scale: float = 1.0
    """A factor, small for tied embeddings: else the likeliest token is always the last one again."""
    pre: str | None = "qwen2"
    tolerance: float = 2e-3
    """The tolerance of logits, in standard deviations of theirs: ours in llama.cpp against transformers."""

    def __str__(self) -> str:
        return self.name


def causal(config_class: str, **fields: Any) -> Callable[[], Any]:
    """Return a maker of a random causal model with `fields` of transformers' `config_class`."""

    def make() -> Any:
        import transformers

        config = getattr(transformers, config_class)(**fields)
        return transformers.AutoModelForCausalLM.from_config(config)

    return make
