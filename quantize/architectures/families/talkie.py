"""Talkie: norms without weights, gains of one number, and the embedding added in each layer.

It rotates the other way round, which is the same as turning the sign of each head's second half.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar, Final

import numpy as np

from quantize.architectures.base.decoder import Decoder
from quantize.architectures.base.rules import TensorRule, linear_rules
from quantize.architectures.base.transform import Shape
from quantize.checkpoint.source import Rows, TensorSource
from quantize.gguf.header import Metadata, float32

MATRICES: Final = {
    "attn_q": "attn.attn_query",
    "attn_k": "attn.attn_key",
    "attn_v": "attn.attn_value",
    "attn_output": "attn.attn_resid",
    "ffn_gate": "mlp.mlp_gate",
    "ffn_up": "mlp.mlp_linear",
    "ffn_down": "mlp.mlp_resid",
}
GAINS: Final = {
    "attn_output.scale": "attn_gain.a_g",
    "ffn_down.scale": "mlp_gain.a_g",
    "layer_output_scale.weight": "embed_skip.a_g",
}
LOGIT_GAIN: Final = "lm_head_gain.w_g"


@dataclass(frozen=True)
class TurnedHalves:
    """Rows with the signs of each head's second half turned."""

    row_step: int

    def source_shapes(self, shape: Shape) -> tuple[Shape, ...]:
        return (shape,)

    def read(self, source: TensorSource, names: Sequence[str], start: int, stop: int) -> Rows:
        rows = source.rows(names[0], start, stop)
        heads = rows.reshape(-1, 2, self.row_step // 2, rows.shape[-1])
        return np.stack((heads[:, 0], -heads[:, 1]), axis=1).reshape(rows.shape)


@dataclass(frozen=True)
class Column:
    """A vector as a matrix of one column."""

    row_step: int = 1

    def source_shapes(self, shape: Shape) -> tuple[Shape, ...]:
        return (shape[:1],)

    def read(self, source: TensorSource, names: Sequence[str], start: int, stop: int) -> Rows:
        return source.rows(names[0], start, stop).reshape(-1, 1)


class Talkie(Decoder):
    """TalkieForCausalLM, by its makers' code."""

    gguf_name = "talkie"
    huggingface_names: ClassVar[tuple[str, ...]] = ("TalkieForCausalLM",)
    own_head_dim = True
    weighs_norms = False
    embedding_name = "model.embed"

    def usual_name(self, name: str) -> str:
        """Return the rules' name for a tensor; an output matrix may be no module's."""
        usual = super().usual_name(name)
        return f"{usual}.weight" if usual.removeprefix(self.base_prefix) == self.head_name else usual

    def metadata(self) -> Metadata:
        keys = self.size_metadata() | self.head_size_metadata()
        keys[f"{self.gguf_name}.attention.layer_norm_rms_epsilon"] = float32(float(np.finfo(np.float32).eps))
        return keys | self.rope.metadata(self.gguf_name, self.context_length)

    @property
    def value_names(self) -> frozenset[str]:
        return frozenset((LOGIT_GAIN,))

    def value_metadata(self, values: Mapping[str, float]) -> Metadata:
        return {f"{self.gguf_name}.logit_scale": float32(values[LOGIT_GAIN])}

    def tensor_rules(self) -> Sequence[TensorRule]:
        h, dim = self.hyperparameters, self.head_dim
        n_q, n_kv = h.n_head * dim, h.n_head_kv * dim
        shapes = {
            "attn_q": (n_q, h.n_embd),
            "attn_k": (n_kv, h.n_embd),
            "attn_v": (n_kv, h.n_embd),
            "attn_output": (h.n_embd, n_q),
            "ffn_gate": (h.n_ff, h.n_embd),
            "ffn_up": (h.n_ff, h.n_embd),
            "ffn_down": (h.n_embd, h.n_ff),
        }
        rules = self.outer_rules()
        for layer in range(h.n_layer):
            source, target = f"model.blocks.{layer}", f"blk.{layer}"
            for part, name in MATRICES.items():
                turned = TurnedHalves(dim) if part in ("attn_q", "attn_k") else None
                rules += linear_rules(f"{target}.{part}", f"{source}.{name}", shapes[part], turned)
            gain, column = (f"{source}.attn.head_gain.head_g",), (h.n_head, 1)
            rules.append(TensorRule(f"{target}.attn_q_norm.weight", gain, column, Column(), f32=True))
            rules += [
                TensorRule(f"{target}.{part}", (f"{source}.{name}",), (1,)) for part, name in GAINS.items()
            ]
        return rules
