"""The pico checkpoints that are compared with llama.cpp's converter, by name."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.pico import write_json, write_pico_checkpoint

LLAMA3_SCALING = {
    "rope_type": "llama3",
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 128,
}
YARN_SCALING = {
    "type": "yarn",
    "factor": 4.0,
    "original_max_position_embeddings": 128,
    "beta_fast": 16,
    "attention_factor": 0.9,
}
MODEL_CARD = """---
license: apache-2.0
language:
- en
- no
tags:
- text-generation
- pico
base_model: someone/Pico-Chat-3M-v0.1
datasets:
- someone/stories
---
# Pico
"""
FOLDER = "Pico-Chat-3M-v0.2"  # parts of the name become metadata


@dataclass(frozen=True)
class Variant:
    """Arguments of `write_pico_checkpoint`, and what is changed in the folder afterwards."""

    arguments: dict[str, Any] = field(default_factory=dict)
    edit: Callable[[Path], None] = lambda directory: None

    @property
    def pre(self) -> str | None:
        """What the converter can't know of a byte-level tokenizer made here."""
        return None if self.arguments.get("tokenizer") == "spm" else "qwen2"

    def write(self, parent: Path) -> Path:
        directory = write_pico_checkpoint(parent / FOLDER, **self.arguments)
        self.edit(directory)
        return directory


def _add_card(directory: Path) -> None:
    (directory / "README.md").write_text(MODEL_CARD, encoding="utf-8")
    sampling = {"temperature": 0.6, "top_p": 0.9, "top_k": 20, "repetition_penalty": 1.05, "do_sample": True}
    write_json(directory / "generation_config.json", sampling)


def _named_templates(directory: Path) -> None:
    import json

    config = json.loads((directory / "tokenizer_config.json").read_text(encoding="utf-8"))
    config["chat_template"] = [
        {"name": "default", "template": "{{ messages[0]['content'] }}"},
        {"name": "tool_use", "template": "{{ tools }}"},
    ]
    write_json(directory / "tokenizer_config.json", config)


def _llama3_post_processor(directory: Path) -> None:
    import json

    path = directory / "tokenizer.json"
    tokenizer = json.loads(path.read_text(encoding="utf-8"))
    bos = {"SpecialToken": {"id": "<|endoftext|>", "type_id": 0}}
    a, b = {"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 1}}
    template = {
        "type": "TemplateProcessing",
        "single": [bos, a],
        "pair": [bos, a, {"SpecialToken": {"id": "<|endoftext|>", "type_id": 1}}, b],
        "special_tokens": {
            "<|endoftext|>": {"id": "<|endoftext|>", "ids": [406], "tokens": ["<|endoftext|>"]}
        },
    }
    steps = [tokenizer["post_processor"], template]
    tokenizer["post_processor"] = {"type": "Sequence", "processors": steps}
    write_json(path, tokenizer)


MISTRAL = {"architectures": ["MistralForCausalLM"], "model_type": "mistral", "sliding_window": 256}

VARIANTS: dict[str, Variant] = {
    "bpe": Variant({"dtype": "F16"}),
    "tied": Variant({"dtype": "BF16", "tie": True, "seed": 2}, _named_templates),
    "spm-sharded": Variant({"dtype": "BF16", "tokenizer": "spm", "sharded": True}),
    "mistral": Variant({"dtype": "F32", "tokenizer": "spm", "config": MISTRAL}),
    "llama3": Variant(
        {"config": {"rope_theta": 500000.0, "rope_scaling": LLAMA3_SCALING}}, _llama3_post_processor
    ),
    "yarn": Variant({"config": {"rope_scaling": YARN_SCALING}}),
    "linear": Variant({"config": {"rope_scaling": {"type": "linear", "factor": 2.0}}}),
    "dynamic": Variant({"config": {"rope_scaling": {"type": "dynamic", "factor": 2.0}}}),
    "rope-parameters": Variant(
        {
            "config": {
                "rope_theta": None,
                "rope_parameters": {"rope_type": "linear", "factor": 2.0, "rope_theta": 12345.0},
            }
        }
    ),
    "bias": Variant({"config": {"attention_bias": True}}),
    "head-dim-padded": Variant({"config": {"head_dim": 32, "vocab_size": 451}}),
    "card": Variant({"n_layers": 1}, _add_card),
}
