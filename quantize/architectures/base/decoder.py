"""Decoders with rotary positions: config.json's usual names, llama.cpp's keys, rules of a layer.

A family derives from `Decoder` when its shape isn't Llama's: it states its defaults and lists its tensors.
"""

from __future__ import annotations

import dataclasses
import re
from typing import ClassVar, Final

from models.errors import CheckpointError
from models.llamacpp.quantization.type_rules import ModelDescription
from quantize.architectures.base.architecture import Architecture
from quantize.architectures.base.config import ModelConfig
from quantize.architectures.base.rope import DEFAULT_THETA, Rope
from quantize.architectures.base.rules import TensorRule, linear_rules, norm_rules
from quantize.architectures.base.transform import Transform
from quantize.gguf.header import Metadata, float32, uint32

GELU_TANH: Final = ("gelu_new", "gelu_pytorch_tanh", "gelu_fast")
SILU: Final = ("silu", "swish")
SEEING_AND_HEARING: Final = (
    "visual.",
    "vision_model.",
    "vision_tower.",
    "audio_tower.",
    "multi_modal_projector.",
    "talker.",
    "code2wav.",
    "token2wav.",
)
"""The beginnings of tensors' names in the parts of models that see, hear or speak."""

NESTED: Final = re.compile(r"^(model\.)?language_model\.(?:model\.(?=model\.))?")
"""The beginning of the text model's names in checkpoints of models that see or hear, too."""

LAYER: Final = re.compile(r"(?:model\.)?layers\.(\d+)\.")
"""The beginning of a layer's names, with its number."""


class Decoder(Architecture):
    """A decoder with grouped-query attention and rotary positions."""

    default_theta: ClassVar[float] = DEFAULT_THETA
    """The base of the rotation where config.json is silent."""

    default_epsilon: ClassVar[float] = 1e-5
    """The norms' epsilon where config.json is silent."""

    epsilon_names: ClassVar[tuple[str, ...]] = ("rms_norm_eps",)
    """The fields of config.json that may hold the norms' epsilon, the first one preferred."""

    activations: ClassVar[tuple[str, ...]] = SILU
    """The names of the activation that llama.cpp computes for this family."""

    activation_name: ClassVar[str] = "hidden_act"
    """The field of config.json that holds the activation."""

    default_tied: ClassVar[bool | None] = False
    """True if the embedding is the output matrix where config.json is silent."""

    headless_names: ClassVar[tuple[str, ...]] = ()
    """The `architectures` entries of models that may be without an output matrix, as those of vectors are."""

    needs_output: ClassVar[bool] = False
    """True if llama.cpp requires an output matrix in the file, also where the embedding is it."""

    has_output: ClassVar[bool] = True
    """True if llama.cpp has a place for an output matrix that isn't the embedding."""

    # Names in the checkpoint.
    embedding_name: ClassVar[str] = "model.embed_tokens"
    last_norm_name: ClassVar[str] = "model.norm"
    head_name: ClassVar[str] = "lm_head"

    weighs_norms: ClassVar[bool] = True
    """True if the last norm has weights."""

    has_rope_factors: ClassVar[bool] = False
    """True if llama.cpp reads `rope_freqs`, which Llama 3's scaling needs."""

    null_kv_heads: ClassVar[bool] = True
    """True if transformers' class takes a num_key_value_heads that is null, for the number of heads."""

    own_head_dim: ClassVar[bool] = False
    """True if llama.cpp lets heads be of another size than the embedding's share."""

    may_predict_further: ClassVar[bool] = False
    """True if checkpoints may have layers behind the last one, which predict further tokens; none is kept."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__(config)
        n_embd, n_head = self.size("hidden_size"), self.size("num_attention_heads")
        n_head_kv = self.n_head_kv = self._kv_heads(n_head)
        self.head_dim = self._head_size(n_embd // n_head)
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
        self.check_activation(self.activation_name, self.activations)
        self.hyperparameters = ModelDescription(
            architecture=self.gguf_name,
            n_embd=n_embd,
            n_ff=self.size("intermediate_size"),
            n_layer=self.size("num_hidden_layers"),
            n_head=n_head,
            n_head_kv=n_head_kv,
            n_embd_head_k=self.head_dim,
            n_embd_head_v=self.head_dim,
        )
        self.rope = self._read_rope()
        if not self.has_rope_factors:
            self.rope.refuse_factors(self.gguf_name)

    def _read_rope(self) -> Rope:
        """Return the rotary settings."""
        return Rope.of(self.config, self.default_theta)

    def _kv_heads(self, n_head: int) -> int:
        """Return the number of key-value heads; where it is null, most classes say as many as heads."""
        name = "num_key_value_heads"
        default = self.defaults.get(name)
        if not self.null_kv_heads and default is not None:
            return self.config.size(name, default)
        return self.config.optional_size(name, default) or n_head

    def _head_size(self, share: int) -> int:
        """Return the size of a head; its share of the embedding, where the class has no size of its own."""
        default = self.defaults.get("head_dim")
        if default is not None:
            return self.config.size("head_dim", default)
        return self.config.optional_size("head_dim") or share

    @property
    def epsilon(self) -> float:
        """The norms' epsilon."""
        name = self.config.first(self.epsilon_names) or self.epsilon_names[0]
        return self.config.number(name, self.default_epsilon)

    def size_metadata(self) -> Metadata:
        """Return the keys of the sizes that every decoder has."""
        return {
            **self.common_metadata(),
            f"{self.gguf_name}.attention.head_count_kv": uint32(self.hyperparameters.n_head_kv),
        }

    def epsilon_metadata(self, kind: str = "layer_norm_rms_epsilon") -> Metadata:
        """Return the key of the norms' epsilon."""
        return {f"{self.gguf_name}.attention.{kind}": float32(self.epsilon)}

    def head_size_metadata(self) -> Metadata:
        """Return the keys of a head's size, which may be another one than the embedding's share."""
        prefix, dim = f"{self.gguf_name}.attention", uint32(self.head_dim)
        return {f"{prefix}.key_length": dim, f"{prefix}.value_length": dim}

    def rotary_share(self, default: float) -> float:
        """Return the rotated part of each head, from 0 to 1: `partial_rotary_factor`, in either place.

        In the outer place null is all of it: transformers doesn't put its default there then.
        """
        name = "partial_rotary_factor"
        if self.rope.parameters.first([name]) is not None:
            return self.rope.parameters.number(name)
        outer = self.config.optional_number(name, default)
        return 1.0 if outer is None else outer

    def outer_rules(self, norm: Transform | None = None, *, norm_bias: bool = False) -> list[TensorRule]:
        """Return the rules of embedding, last norm, and the output matrix."""
        n_embd = self.hyperparameters.n_embd
        embedding = (f"{self.embedding_name}.weight",)
        last = norm_rules("output_norm", self.last_norm_name, n_embd, norm, bias=norm_bias)
        return [
            TensorRule("token_embd.weight", embedding, (self.vocabulary_size, n_embd)),
            *(last if self.weighs_norms else ()),
            *self._output_rules((self.vocabulary_size, n_embd)),
        ]

    def _output_rules(self, shape: tuple[int, int]) -> list[TensorRule]:
        """Return the rule of the output matrix; a tied one that was saved is kept: it may be trained."""
        rule = TensorRule("output.weight", (f"{self.head_name}.weight",), shape)
        if not self.is_tied:
            headless = self.config.architecture() in self.headless_names
            return [dataclasses.replace(rule, optional=headless)]
        if self.needs_output:
            embedding = dataclasses.replace(rule, sources=(f"{self.embedding_name}.weight",))
            return [dataclasses.replace(rule, others=(embedding,))]
        return [dataclasses.replace(rule, optional=True)] if self.has_output else []

    @property
    def tied_names(self) -> tuple[str, ...]:
        return (f"{self.embedding_name}.weight", f"{self.head_name}.weight") if self.is_tied else ()

    def usual_name(self, name: str) -> str:
        """Return the rules' name for a tensor; that of a text model is nested where there was more."""
        return super().usual_name(NESTED.sub(r"\1", name))

    def is_needless(self, name: str) -> bool:
        """Tell whether no one needs a tensor.

        These are a tied output matrix for which llama.cpp has no place, and layers that predict further
        tokens.
        """
        if name in self.tied_names:
            return True
        layer = LAYER.match(name) if self.may_predict_further else None
        further = layer is not None and int(layer[1]) >= self.hyperparameters.n_layer
        return further or super().is_needless(name)

    def require_tied(self) -> None:
        """Check that the embedding is the output matrix.

        Raises CheckpointError: llama.cpp has no place for one.
        """
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
        """Return the rules of q, k, v and output under `<source>.self_attn`, as they are."""
        h, attention = self.hyperparameters, f"{source}.self_attn"
        n_q, n_kv = h.n_head * self.head_dim, self.n_head_kv * self.head_dim
        return [
            *linear_rules(f"{target}.attn_q", f"{attention}.q_proj", (n_q, h.n_embd), bias=qkv_bias),
            *linear_rules(f"{target}.attn_k", f"{attention}.k_proj", (n_kv, h.n_embd), bias=qkv_bias),
            *linear_rules(f"{target}.attn_v", f"{attention}.v_proj", (n_kv, h.n_embd), bias=qkv_bias),
            *linear_rules(
                f"{target}.attn_output", f"{attention}.{output}", (h.n_embd, n_q), bias=output_bias
            ),
        ]

    def gated_rules(self, source: str, target: str) -> list[TensorRule]:
        """Return the rules of gate, up and down under `<source>.mlp`."""
        h, mlp = self.hyperparameters, f"{source}.mlp"
        return [
            *linear_rules(f"{target}.ffn_gate", f"{mlp}.gate_proj", (h.n_ff, h.n_embd)),
            *linear_rules(f"{target}.ffn_up", f"{mlp}.up_proj", (h.n_ff, h.n_embd)),
            *linear_rules(f"{target}.ffn_down", f"{mlp}.down_proj", (h.n_embd, h.n_ff)),
        ]
