"""Nomic's BERT (nomic-embed-text v1 and v1.5): rotary positions, SwiGLU; v2: experts with GELU.

Published checkpoints have GPT-2's names in config.json and flash attention's for the tensors.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

from models.errors import CheckpointError
from quantize.architectures.base.config import ModelConfig
from quantize.architectures.base.encoder import Encoder
from quantize.architectures.base.rules import TensorRule, linear_rules, norm_rules
from quantize.architectures.base.transform import Shape
from quantize.checkpoint.source import Rows, TensorSource
from quantize.gguf.header import Metadata, float32, uint32

TRAINED = {8192: 2048, 2048: 512}
"""The lengths that v1 and v2 were trained with, by their n_positions."""


@dataclass(frozen=True)
class FlatExperts:
    """Experts [n_expert, n_out, n_in], one below the other, or `transposed` as [n_expert · n_in, n_out]."""

    n_expert: int
    n_out: int
    n_in: int
    transposed: bool = False

    @property
    def row_step(self) -> int:
        return self.n_out if self.transposed else 1

    def source_shapes(self, shape: Shape) -> tuple[Shape, ...]:
        del shape
        if self.transposed:
            return ((self.n_expert * self.n_in, self.n_out),)
        return ((self.n_expert * self.n_out, self.n_in),)

    def read(self, source: TensorSource, names: Sequence[str], start: int, stop: int) -> Rows:
        if not self.transposed:
            return source.rows(names[0], start, stop)
        first, last = start // self.n_out, stop // self.n_out
        rows = source.rows(names[0], first * self.n_in, last * self.n_in)
        return rows.reshape(-1, self.n_in, self.n_out).swapaxes(1, 2).reshape(-1, self.n_in)


class NomicBert(Encoder):
    """NomicBertModel."""

    huggingface_names: ClassVar[tuple[str, ...]] = ("NomicBertModel",)
    renames: ClassVar[tuple[tuple[str, str], ...]] = (("emb_ln.", "embeddings.LayerNorm."),)
    names: ClassVar[Mapping[str, str]] = {
        "hidden_size": "n_embd",
        "intermediate_size": "n_inner",
        "num_hidden_layers": "n_layer",
        "num_attention_heads": "n_head",
    }
    defaults: ClassVar[Mapping[str, int]] = {**Encoder.defaults, "vocab_size": 30528}

    def __init__(self, config: ModelConfig) -> None:
        self.experts_every = config.optional_size("moe_every_n_layers")
        self.gguf_name = "nomic-bert-moe" if self.experts_every else "nomic-bert"
        super().__init__(config)
        self.n_expert = config.size("num_experts") if self.experts_every else 0
        self._check()

    def _check(self) -> None:
        """Check the configuration. Raises CheckpointError: a variant that llama.cpp doesn't compute."""
        experts = self.experts_every is not None
        expected: dict[str, object] = {
            "activation_function": "gelu" if experts else "swiglu",
            "causal": False,
            "prenorm": False,
            "qkv_proj_bias": experts,
            "mlp_fc1_bias": experts,
            "mlp_fc2_bias": experts,
            "rotary_emb_fraction": 1.0,
            "rotary_emb_interleaved": False,
            "rotary_emb_scale_base": None,
        }
        for name, value in expected.items():
            actual = self.config.raw(name)
            if actual != value:
                raise CheckpointError(
                    f"config.json has {name} {actual!r}; llama.cpp's `{self.gguf_name}` has {value!r} only"
                )
        if self.config.size("n_positions") not in TRAINED:
            raise CheckpointError(
                f"config.json has n_positions {self.config.size('n_positions')}; known: 8192 (v1), 2048 (v2)"
            )

    @property
    def context_length(self) -> int:
        return TRAINED[self.config.size("n_positions")]

    @property
    def epsilon(self) -> float:
        return self.config.number("layer_norm_epsilon", self.default_epsilon)

    def metadata(self) -> Metadata:
        prefix = self.gguf_name
        keys = super().metadata()
        keys[f"{prefix}.rope.freq_base"] = float32(self.config.number("rotary_emb_base", 10000.0))
        if self.experts_every is not None:
            keys[f"{prefix}.moe_every_n_layers"] = uint32(self.experts_every)
            keys[f"{prefix}.expert_count"] = uint32(self.n_expert)
            keys[f"{prefix}.expert_used_count"] = uint32(self.config.size("moe_top_k"))
        return keys

    def is_needless(self, name: str) -> bool:
        """Tell whether no one needs a tensor: a bias of experts, which llama.cpp doesn't add."""
        return name.endswith(".mlp.experts.bias") or super().is_needless(name)

    def tensor_rules(self) -> Sequence[TensorRule]:
        rules = self.embedding_rules()
        for layer in range(self.hyperparameters.n_layer):
            rules += self._layer_rules(layer, f"encoder.layers.{layer}", f"blk.{layer}")
        return rules

    def _layer_rules(self, layer: int, source: str, target: str) -> list[TensorRule]:
        n, experts = self.hyperparameters.n_embd, self.experts_every is not None
        rules = [
            *linear_rules(f"{target}.attn_qkv", f"{source}.attn.Wqkv", (3 * n, n), bias=experts),
            *linear_rules(f"{target}.attn_output", f"{source}.attn.out_proj", (n, n), bias=experts),
            *norm_rules(f"{target}.attn_output_norm", f"{source}.norm1", n, bias=True),
            *norm_rules(f"{target}.layer_output_norm", f"{source}.norm2", n, bias=True),
        ]
        if self.experts_every is not None and layer % self.experts_every == 1:
            return rules + self._expert_rules(f"{source}.mlp", target)
        return rules + self._feed_forward_rules(f"{source}.mlp", target)

    def _feed_forward_rules(self, mlp: str, target: str) -> list[TensorRule]:
        n, n_ff, experts = (
            self.hyperparameters.n_embd,
            self.hyperparameters.n_ff,
            self.experts_every is not None,
        )
        down = linear_rules(f"{target}.ffn_down", f"{mlp}.fc2", (n, n_ff), bias=experts)
        if experts:
            return [*down, *linear_rules(f"{target}.ffn_up", f"{mlp}.fc1", (n_ff, n), bias=True)]
        return [
            *down,
            *linear_rules(f"{target}.ffn_up", f"{mlp}.fc11", (n_ff, n)),
            *linear_rules(f"{target}.ffn_gate", f"{mlp}.fc12", (n_ff, n)),
        ]

    def _expert_rules(self, mlp: str, target: str) -> list[TensorRule]:
        n, n_ff, count = self.hyperparameters.n_embd, self.hyperparameters.n_ff, self.n_expert
        up, down = FlatExperts(count, n_ff, n), FlatExperts(count, n, n_ff, transposed=True)
        router = (f"{mlp}.router.layer.weight",)
        return [
            TensorRule(f"{target}.ffn_gate_inp.weight", router, (count, n), f32=True),
            TensorRule(f"{target}.ffn_up_exps.weight", (f"{mlp}.experts.mlp.w1",), (count, n_ff, n), up),
            TensorRule(f"{target}.ffn_down_exps.weight", (f"{mlp}.experts.mlp.w2",), (count, n, n_ff), down),
        ]
