"""The tests' model: a random Llama with 64k tokens of context that calls tools, and ends.

`<tool_call>` and its end are tokens, as Qwen's are. Of each embedding three numbers are ours. The first is
large in all, so it is about the same behind the layer, and the first column of the output matrix is a bias.
The others are large in a line's end and in a space alone, so their columns say what follows these: a call,
where the template lets the model's turn begin so, else anything but an end. Random weights of themselves
would write without an end, and call nothing. Which tool is called, and with what arguments, is left to chance
and the grammar.

It has one narrow layer, so that agents' prompts of 20,000 tokens and more take it seconds.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tests.clients.chat_template import CHAT_TEMPLATE
from tests.e2e.running import corral, environment
from tests.pico import pico_tensors, write_pico_checkpoint, write_safetensors

N_CTX = 65_536
MARKS = ("<tool_call>", "</tool_call>")
BIASES: dict[str, dict[str, float]] = {
    "": {"<|im_end|>": 4.5, '"': 4.0},
    "Ċ": {"<tool_call>": 14.0},
    "Ġ": {"<|im_end|>": -20.0},
}
"""What is added to the logits of tokens, about: behind all tokens, a line's end, and a space."""
STEADY = 20.0
"""The numbers of embeddings that are ours."""
_BEHIND_LAYER = 6.0
"""The same where they meet the output matrix, normalized."""


def write_agent_checkpoint(folder: Path) -> Path:
    """Write the model as a Hugging Face folder; returns `folder`."""
    settings: dict[str, Any] = {"max_position_embeddings": N_CTX, "intermediate_size": 128}
    write_pico_checkpoint(folder, config=settings, n_layers=1, hidden=64, heads=1, kv_heads=1)
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
    embeddings, outputs = tensors["model.embed_tokens.weight"], tensors["lm_head.weight"]
    embeddings[:, : len(BIASES)] = outputs[:, : len(BIASES)] = 0.0
    for column, (behind, biases) in enumerate(BIASES.items()):
        embeddings[ids[behind] if behind else slice(None), column] = STEADY
        for text, bias in biases.items():
            outputs[ids[text], column] = bias / _BEHIND_LAYER
    write_safetensors(folder / "model.safetensors", tensors)
    return folder


def write_agent_gguf(folder: Path, name: str) -> Path:
    """Write the model and quantize it as a user would; returns the file, `name`.gguf in `folder`."""
    checkpoint = write_agent_checkpoint(folder / name)
    done = corral(
        *("quantize", str(checkpoint), "--type", "F16", "--out", str(folder / "out")),
        env=environment(folder),
    )
    assert done.returncode == 0, done.stderr
    (made,) = (folder / "out").glob("*.gguf")
    return made.rename(folder / f"{name}.gguf")


def _read(path: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return found


def _write(path: Path, value: object) -> None:
    path.write_text(json.dumps(value, ensure_ascii=False), encoding="utf-8")
