"""DBRX: norms without shifts, clipped q, k and v in one matrix, experts one below the other."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from models.errors import CheckpointError
from quantize.architectures.base.config import ModelConfig
from quantize.architectures.base.decoder import SILU, Decoder
from quantize.architectures.base.moe import expert_count_metadata
from quantize.architectures.base.rope import DEFAULT_THETA, Rope
from quantize.architectures.base.rules import TensorRule, linear_rules, norm_rules
from quantize.architectures.base.transform import Shape
from quantize.checkpoint.source import Rows, TensorSource
from quantize.gguf.header import Metadata, float32


@dataclass(frozen=True)
class Experts:
    """Matrices of experts, `n_rows` by `n_per_row`, which the source has one below the other.

    With `is_turned` each one's columns are the rows.
    """

    n_rows: int
    n_per_row: int
    is_turned: bool = False

    @property
    def row_step(self) -> int:
        return self.n_rows if self.is_turned else 1

    def source_shapes(self, shape: Shape) -> tuple[Shape, ...]:
        n_expert = shape[0]
        if self.is_turned:
            return ((n_expert * self.n_per_row, self.n_rows),)
        return ((n_expert * self.n_rows, self.n_per_row),)

    def read(self, source: TensorSource, names: Sequence[str], start: int, stop: int) -> Rows:
        if not self.is_turned:
            return source.rows(names[0], start, stop)
        first, last = start // self.n_rows, -(-stop // self.n_rows)
        stacked = source.rows(names[0], first * self.n_per_row, last * self.n_per_row)
        rows = stacked.reshape(-1, self.n_per_row, self.n_rows).swapaxes(1, 2).reshape(-1, self.n_per_row)
        at = first * self.n_rows
        return rows[start - at : stop - at]


class Dbrx(Decoder):
    """DbrxForCausalLM."""

    gguf_name = "dbrx"
    huggingface_names: ClassVar[tuple[str, ...]] = ("DbrxForCausalLM",)
    reads_back = False
    defaults: ClassVar[dict[str, int]] = {
        "vocab_size": 32000,
        "d_model": 2048,
        "n_layers": 24,
        "n_heads": 16,
        "max_seq_len": 2048,
    }
    own_names: ClassVar[dict[str, str]] = {
        "hidden_size": "d_model",
        "num_attention_heads": "n_heads",
        "num_hidden_layers": "n_layers",
        "max_position_embeddings": "max_seq_len",
    }
    """The names of sizes that count where config.json has none under the usual ones."""

    base_prefix = "transformer."
    embedding_name = "transformer.wte"
    last_norm_name = "transformer.norm_f"
    needs_output = True

    def __init__(self, config: ModelConfig) -> None:
        nothing = ModelConfig({})
        self.attention = config.section("attn_config") or nothing
        self.experts = config.section("ffn_config") or nothing
        super().__init__(config)
        activation = (self.experts.section("ffn_act_fn") or nothing).text("name", "silu")
        norm = self.experts.optional_number("moe_normalize_expert_weights", 1.0)
        if activation not in SILU or norm != 1:
            raise CheckpointError(
                f"ffn_config in config.json has the activation {activation!r} and"
                f" moe_normalize_expert_weights {norm}; llama.cpp's `dbrx` computes silu and 1"
            )
        n_expert = self.experts.size("moe_num_experts", 4)
        self.hyperparameters = dataclasses.replace(self.hyperparameters, n_expert=n_expert)

    def size(self, name: str) -> int:
        """Return a size, under its usual name or this family's; the feed-forward's is among the experts'."""
        if name == "intermediate_size":
            return self.experts.size("ffn_hidden_size", 3584)
        own = self.own_names.get(name, name)
        return self.config.size(self.config.first([name]) or own, self.defaults.get(own))

    def _kv_heads(self, n_head: int) -> int:
        del n_head
        return self.attention.size("kv_n_heads", 1)

    def _read_rope(self) -> Rope:
        theta = self.attention.number("rope_theta", DEFAULT_THETA)
        return Rope.of(self.config, theta)

    def metadata(self) -> Metadata:
        prefix, n_expert = self.gguf_name, self.hyperparameters.n_expert
        return {
            **self.size_metadata(),
            **self.rope.metadata(prefix, self.context_length),
            **expert_count_metadata(prefix, n_expert, self.experts.size("moe_top_k", 1)),
            f"{prefix}.attention.layer_norm_epsilon": float32(1e-5),
            f"{prefix}.attention.clamp_kqv": float32(self.attention.optional_number("clip_qkv") or 0.0),
        }

    def tensor_rules(self) -> Sequence[TensorRule]:
        h = self.hyperparameters
        n_qkv = h.n_embd + 2 * h.n_head_kv * self.head_dim
        rules = self.outer_rules()
        for layer in range(h.n_layer):
            source, target = f"transformer.blocks.{layer}", f"blk.{layer}"
            block, attention = f"{source}.norm_attn_norm", f"{source}.norm_attn_norm.attn"
            rules += norm_rules(f"{target}.attn_norm", f"{block}.norm_1", h.n_embd)
            rules += linear_rules(f"{target}.attn_qkv", f"{attention}.Wqkv", (n_qkv, h.n_embd))
            rules += linear_rules(f"{target}.attn_output", f"{attention}.out_proj", (h.n_embd, h.n_embd))
            rules += norm_rules(f"{target}.attn_output_norm", f"{block}.norm_2", h.n_embd)
            router = f"{source}.ffn.router.layer"
            rules += linear_rules(f"{target}.ffn_gate_inp", router, (h.n_expert, h.n_embd))
            for part, name in {"gate": "w1", "up": "v1", "down": "w2"}.items():
                shape = (h.n_embd, h.n_ff) if part == "down" else (h.n_ff, h.n_embd)
                rules.append(
                    TensorRule(
                        f"{target}.ffn_{part}_exps.weight",
                        (f"{source}.ffn.experts.mlp.{name}",),
                        (h.n_expert, *shape),
                        Experts(*shape, is_turned=part == "down"),
                    )
                )
        return rules
