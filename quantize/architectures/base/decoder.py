"""What most decoders share: config.json's usual names, llama.cpp's keys for them, rules for a layer's parts.

A family of its own builds on `Decoder`: it states its defaults and lists its tensors.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from models.errors import CheckpointError
from quantize.architectures.base.architecture import Architecture, Hyperparameters, TensorRule
from quantize.architectures.base.config import ModelConfig
from quantize.architectures.base.rope import DEFAULT_THETA, Rope
from quantize.architectures.base.transform import Same, Transform
from quantize.gguf.header import Metadata, float32, uint32

GELU_TANH = ("gelu_new", "gelu_pytorch_tanh", "gelu_fast")
SILU = ("silu", "swish")


class Decoder(Architecture):
    """A decoder with grouped-query attention and rotary positions."""

    defaults: ClassVar[Mapping[str, int]]
    """The sizes that transformers' configuration class assumes where config.json is silent."""

    default_theta: ClassVar[float] = DEFAULT_THETA
    default_epsilon: ClassVar[float] = 1e-5
    epsilon_names: ClassVar[tuple[str, ...]] = ("rms_norm_eps",)
    activations: ClassVar[tuple[str, ...]] = SILU
    activation_name: ClassVar[str] = "hidden_act"
    default_tied: ClassVar[bool] = False
    needs_output: ClassVar[bool] = False
    """Whether llama.cpp wants an output matrix in the file, also where the embedding is it."""

    embedding_name: ClassVar[str] = "model.embed_tokens"
    last_norm_name: ClassVar[str] = "model.norm"
    head_name: ClassVar[str] = "lm_head"

    own_head_dim: ClassVar[bool] = False
    """Whether llama.cpp lets heads be of another size than the embedding's share."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__(config)
        n_embd, n_head = self.size("hidden_size"), self.size("num_attention_heads")
        n_head_kv = config.size("num_key_value_heads", self.defaults.get("num_key_value_heads", n_head))
        default_dim = (
            self.defaults.get("head_dim", n_embd // n_head) if self.own_head_dim else n_embd // n_head
        )
        self.head_dim = config.size("head_dim", default_dim)
        if self.head_dim % 2 or n_head % n_head_kv:
            raise CheckpointError(
                f"config.json has {n_head} heads of {self.head_dim} numbers and {n_head_kv} key-value heads; "
                "heads must be even in size and a multiple of the key-value heads"
            )
        if not self.own_head_dim and self.head_dim * n_head != n_embd:
            raise CheckpointError(
                f"config.json has {n_head} heads of {self.head_dim} numbers for an embedding of {n_embd}; "
                f"in llama.cpp's `{self.gguf_name}` the heads together have its size"
            )
        activation = config.text(self.activation_name)
        if activation is not None and activation not in self.activations:
            raise CheckpointError(
                f"config.json has {self.activation_name} {activation!r}; llama.cpp's `{self.gguf_name}` "
                f"computes {self.activations[0]} only"
            )
        self.hyperparameters = Hyperparameters(
            n_embd=n_embd,
            n_ff=self.size("intermediate_size"),
            n_layer=self.size("num_hidden_layers"),
            n_head=n_head,
            n_head_kv=n_head_kv,
            n_embd_head_k=self.head_dim,
            n_embd_head_v=self.head_dim,
        )
        self.rope = Rope.of(config, self.default_theta)

    def size(self, name: str) -> int:
        """A size of config.json, or this family's default for it."""
        return self.config.size(name, self.defaults.get(name))

    @property
    def context_length(self) -> int:
        return self.size("max_position_embeddings")

    @property
    def vocabulary_size(self) -> int:
        return self.size("vocab_size")

    @property
    def epsilon(self) -> float:
        found = (self.config.optional_number(name) for name in self.epsilon_names)
        return next((value for value in found if value is not None), self.default_epsilon)

    def sizes(self) -> Metadata:
        """The keys that every decoder has."""
        h, prefix = self.hyperparameters, self.gguf_name
        return {
            **self.common_sizes(),
            f"{prefix}.attention.head_count_kv": uint32(h.n_head_kv),
        }

    def norm_epsilon(self, kind: str = "layer_norm_rms_epsilon") -> Metadata:
        return {f"{self.gguf_name}.attention.{kind}": float32(self.epsilon)}

    def head_sizes(self) -> Metadata:
        prefix, dim = f"{self.gguf_name}.attention", uint32(self.head_dim)
        return {f"{prefix}.key_length": dim, f"{prefix}.value_length": dim}

    def rotary_share(self, default: float) -> float:
        """The part of each head that is rotated: `partial_rotary_factor`, in either place."""
        inner = self.rope.parameters.optional_number("partial_rotary_factor")
        return self.config.number("partial_rotary_factor", default) if inner is None else inner

    def outer_rules(self, norm: Transform | None = None, *, norm_bias: bool = False) -> list[TensorRule]:
        """Embedding, last norm, and the output matrix unless it is the embedding."""
        h, tied = self.hyperparameters, self.is_tied
        embedding = (self.vocabulary_size, h.n_embd)
        rules = [TensorRule("token_embd.weight", (f"{self.embedding_name}.weight",), embedding)]
        rules += norm_rules("output_norm", self.last_norm_name, h.n_embd, norm, bias=norm_bias)
        if not tied or self.needs_output:
            head = self.embedding_name if tied else self.head_name
            rules += linear_rules("output", head, embedding)
        return rules

    @property
    def is_tied(self) -> bool:
        """Whether the embedding is the output matrix, too."""
        return self.config.flag("tie_word_embeddings", self.default_tied)

    def tensor_name(self, name: str) -> str | None:
        """A checkpoint may hold the tied output matrix, too: a copy of the embedding."""
        is_copy = self.is_tied and name == f"{self.head_name}.weight"
        return None if is_copy else super().tensor_name(name)

    def require_tied(self) -> None:
        """Raises CheckpointError when there is an output matrix, for which llama.cpp has no place."""
        if not self.is_tied:
            raise CheckpointError(
                f"config.json has tie_word_embeddings false; llama.cpp's `{self.gguf_name}` has no output "
                "matrix but the embedding"
            )

    def attention_rules(
        self,
        source: str,
        target: str,
        *,
        qkv_bias: bool = False,
        output: str = "o_proj",
        output_bias: bool = False,
    ) -> list[TensorRule]:
        """q, k, v and output under `<source>.self_attn`, as they are."""
        h, attention = self.hyperparameters, f"{source}.self_attn"
        n_q, n_kv = h.n_head * self.head_dim, h.n_head_kv * self.head_dim
        return [
            *linear_rules(f"{target}.attn_q", f"{attention}.q_proj", (n_q, h.n_embd), bias=qkv_bias),
            *linear_rules(f"{target}.attn_k", f"{attention}.k_proj", (n_kv, h.n_embd), bias=qkv_bias),
            *linear_rules(f"{target}.attn_v", f"{attention}.v_proj", (n_kv, h.n_embd), bias=qkv_bias),
            *linear_rules(
                f"{target}.attn_output", f"{attention}.{output}", (h.n_embd, n_q), bias=output_bias
            ),
        ]

    def gated_rules(self, source: str, target: str) -> list[TensorRule]:
        """Gate, up and down under `<source>.mlp`."""
        h, mlp = self.hyperparameters, f"{source}.mlp"
        return [
            *linear_rules(f"{target}.ffn_gate", f"{mlp}.gate_proj", (h.n_ff, h.n_embd)),
            *linear_rules(f"{target}.ffn_up", f"{mlp}.up_proj", (h.n_ff, h.n_embd)),
            *linear_rules(f"{target}.ffn_down", f"{mlp}.down_proj", (h.n_embd, h.n_ff)),
        ]


def linear_rules(
    target: str,
    source: str,
    shape: tuple[int, int],
    transform: Transform | None = None,
    *,
    bias: bool = False,
) -> list[TensorRule]:
    """A matrix and, with `bias`, its vector."""
    transform = transform or Same()
    rules = [TensorRule(f"{target}.weight", (f"{source}.weight",), shape, transform)]
    if bias:
        rules.append(TensorRule(f"{target}.bias", (f"{source}.bias",), shape[:1], transform))
    return rules


def norm_rules(
    target: str, source: str, n: int, transform: Transform | None = None, *, bias: bool = False
) -> list[TensorRule]:
    """A norm's scale and, with `bias`, its shift."""
    rules = [TensorRule(f"{target}.weight", (f"{source}.weight",), (n,), transform or Same())]
    if bias:
        rules.append(TensorRule(f"{target}.bias", (f"{source}.bias",), (n,)))
    return rules
