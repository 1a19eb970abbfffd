"""The tests' model: a random Llama with 64k tokens of context that likes to begin calls, and to end.

`<tool_call>` and its end are tokens, as Qwen's are. The first number of each embedding is large, so it is
about the same behind all layers, and the first column of the output matrix is a bias: else random weights
would write without an end, and call nothing.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tests.clients.chat_template import CHAT_TEMPLATE
from tests.pico import pico_tensors, write_pico_checkpoint, write_safetensors

N_CTX = 65_536
MARKS = ("<tool_call>", "</tool_call>")
LIKED = {"<tool_call>": 5.5, "<|im_end|>": 5.5, '"': 5.5}
"""Tokens that come often, and how much is added to their logits: about so much."""
STEADY = 20.0
"""The first number of all embeddings."""
_BEHIND_LAYERS = 11.0
"""The same number where it meets the output matrix, normalized."""


def write_agent_checkpoint(folder: Path) -> Path:
    """Write the model as a Hugging Face folder; returns `folder`."""
    settings: dict[str, Any] = {"max_position_embeddings": N_CTX}
    write_pico_checkpoint(folder, config=settings)
    tokenizer = _read(folder / "tokenizer.json")
    added = tokenizer["added_tokens"]
    first = added[-1]["id"] + 1
    added += [{**added[-1], "id": first + at, "content": mark} for at, mark in enumerate(MARKS)]
    _write(folder / "tokenizer.json", tokenizer)
    words = _read(folder / "tokenizer_config.json")
    words |= {"chat_template": CHAT_TEMPLATE, "model_max_length": N_CTX}
    for token in added[-len(MARKS) :]:
        words["added_tokens_decoder"][str(token["id"])] = {k: v for k, v in token.items() if k != "id"}
    _write(folder / "tokenizer_config.json", words)
    config = {**_read(folder / "config.json"), "vocab_size": first + len(MARKS)}
    _write(folder / "config.json", config)
    ids = {**tokenizer["model"]["vocab"], **{token["content"]: token["id"] for token in added}}
    tensors = pico_tensors(config, seed=0, dtype="F16")
    tensors["model.embed_tokens.weight"][:, 0] = STEADY
    tensors["lm_head.weight"][:, 0] = 0.0
    for text, bias in LIKED.items():
        tensors["lm_head.weight"][ids[text], 0] = bias / _BEHIND_LAYERS
    write_safetensors(folder / "model.safetensors", tensors)
    return folder


def _read(path: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return found


def _write(path: Path, value: object) -> None:
    path.write_text(json.dumps(value, ensure_ascii=False), encoding="utf-8")
