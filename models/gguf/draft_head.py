"""Heads that draft for a model: files of their own (EAGLE-3), and layers of the model's file (MTP).

llama.cpp asserts what is checked here when it builds a head's graph, which ends the process.
"""

from __future__ import annotations

from array import array
from collections.abc import Collection
from pathlib import Path
from typing import Final

from models.gguf.head_rules import DRAFT_TO_TARGET
from models.gguf.hyperparameters import Hyperparameters
from models.gguf.info import GGUFInfo

FURTHER_LAYERS: Final[dict[str, tuple[str, ...]]] = {
    "glm4moe": ("ffn_gate_inp.weight",),
    "hy_v3": (),
}
"""The architectures whose further layers llama.cpp computes as a head, and what it asserts of such a layer
beside its projection and norms."""
_PROJECTION: Final = ("nextn.eh_proj.weight", "nextn.enorm.weight", "nextn.hnorm.weight")


def head_mismatch(head: GGUFInfo, served: GGUFInfo, shown: Collection[str]) -> str | None:
    """Return why an EAGLE-3 head isn't one for a model's file; None if it is.

    `shown`: the architectures whose layers llama.cpp shows. Reads the head's table of tokens.
    """
    keys, shapes = Hyperparameters(head.metadata, "eagle3"), {one.name: one.shape for one in head.tensors}
    n_layer = (served.n_layer or 0) - (served.hyperparameter("nextn_predict_layers") or 0)
    if served.architecture not in shown:
        return f"llama.cpp doesn't show the layers of {served.architecture}"
    if keys.integer("target_hidden_size") != served.n_embd:
        return f"its model is {keys.integer('target_hidden_size')} numbers wide, not {served.n_embd}"
    if max(keys.per_layer("target_layers")) >= n_layer:
        return f"it sees layers of a deeper model than one of {n_layer}"
    if head.n_vocab != served.n_vocab:
        return f"its vocabulary has {head.n_vocab} tokens, not {served.n_vocab}"
    if "token_embd.weight" in shapes and shapes["token_embd.weight"][-1] != head.n_vocab:
        return f"its embeddings are of {shapes['token_embd.weight'][-1]} tokens, not {head.n_vocab}"
    if not {"token_embd.weight", "output.weight"} <= shapes.keys() and head.n_embd != served.n_embd:
        return f"it has the model's embeddings and is {head.n_embd} numbers wide, not {served.n_embd}"
    if DRAFT_TO_TARGET in shapes:
        tokens = _token_table(head)
        known = range(head.n_vocab or 0)
        if len(set(tokens)) < len(tokens) or not all(token in known for token in tokens):
            return f"its {DRAFT_TO_TARGET} names tokens twice, or such as aren't in the vocabulary"
    return None


def has_further_layer(info: GGUFInfo) -> bool:
    """Return True if llama.cpp can draft with a layer of a model's file: its tensors are there."""
    needed = FURTHER_LAYERS.get(info.architecture or "")
    if needed is None or info.hyperparameter("nextn_predict_layers") != 1 or not info.n_layer:
        return False
    names = {tensor.name for tensor in info.tensors}
    return {f"blk.{info.n_layer - 1}.{name}" for name in (*_PROJECTION, *needed)} <= names


def _token_table(head: GGUFInfo) -> array[int]:
    tensor = next(tensor for tensor in head.tensors if tensor.name == DRAFT_TO_TARGET)
    path: Path = head.paths[tensor.part]
    with path.open("rb") as file:
        file.seek(tensor.offset)
        return array("q", file.read(tensor.nbytes))
