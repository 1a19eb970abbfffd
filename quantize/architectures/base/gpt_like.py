"""Decoders of GPT-2's generation: sizes under changing names, layer norms, q, k and v in one matrix."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from models.errors import CheckpointError
from models.llamacpp.quantization.type_rules import ModelDescription
from quantize.architectures.base.architecture import Architecture
from quantize.architectures.base.config import ModelConfig
from quantize.architectures.base.rules import TensorRule, linear_rules, norm_rules
from quantize.architectures.base.transform import Runs
from quantize.gguf.header import Metadata, float32

GELU = ("gelu", "gelu_new", "gelu_fast", "gelu_pytorch_tanh", "gelu_python", "gelu_accurate")


class GPTLike(Architecture):
    """A decoder whose heads share the embedding's size. A family states its names and lists its tensors."""

    names: ClassVar[Mapping[str, tuple[str, ...]]]
    """The names in config.json of `n_embd`, `n_head`, `n_layer` and `context`, those first that win."""

    older_names: ClassVar[Mapping[str, str]] = {}
    """The names in config.json that win over those of `names`, unless they are null."""

    defaults: ClassVar[Mapping[str, int]]
    """The sizes that transformers assumes where config.json is silent: of `names`' keys, and `n_vocab`."""

    activation_name: ClassVar[str | None] = None
    """The field of config.json that holds the activation, if there is one."""

    epsilon_name: ClassVar[str] = "layer_norm_epsilon"
    """The field of config.json that holds the norms' epsilon."""

    default_tied: ClassVar[bool | None] = True
    """True if the embedding is the output matrix where config.json is silent."""

    # Names in the checkpoint.
    base_prefix: ClassVar[str] = "transformer."
    embedding_name: ClassVar[str] = "transformer.word_embeddings"
    head_name: ClassVar[str] = "lm_head"

    def __init__(self, config: ModelConfig) -> None:
        super().__init__(config)
        n_embd, n_head = self.size("n_embd"), self.size("n_head")
        n_head_kv = self.kv_heads(n_head)
        if n_embd % n_head or n_head % n_head_kv:
            raise CheckpointError(
                f"config.json has {n_head} heads and {n_head_kv} key-value heads for {n_embd} numbers; "
                "heads must divide the numbers, key-value heads the heads"
            )
        self.head_dim = n_embd // n_head
        self.hyperparameters = ModelDescription(
            architecture=self.gguf_name,
            n_embd=n_embd,
            n_ff=self.feed_forward(n_embd),
            n_layer=self.size("n_layer"),
            n_head=n_head,
            n_head_kv=n_head_kv,
            n_embd_head_k=self.head_dim,
            n_embd_head_v=self.head_dim,
        )
        if self.activation_name is not None:
            self.check_activation(self.activation_name, GELU)

    def size(self, name: str) -> int:
        """Return a size under any of its `names`, or this family's default for it. Raises CheckpointError."""
        older = self.older_names.get(name)
        size = None if older is None else self.config.optional_size(older)
        if size is not None:
            return size
        names = self.names[name]
        return self.config.size(self.config.first(names) or names[0], self.defaults.get(name))

    def kv_heads(self, n_head: int) -> int:
        """Return the number of key-value heads."""
        return n_head

    def feed_forward(self, n_embd: int) -> int:
        """Return the width of the feed-forward layers."""
        return 4 * n_embd

    def refuse(self, unlike: bool, what: str) -> None:
        """Refuse a model, if `unlike`.

        Raises CheckpointError: it has something that llama.cpp's family hasn't.
        """
        if unlike:
            raise CheckpointError(
                f"by config.json the model has {what}, which llama.cpp's `{self.gguf_name}` doesn't compute"
            )

    @property
    def context_length(self) -> int:
        return self.size("context")

    @property
    def vocabulary_size(self) -> int:
        return self.config.size("vocab_size", self.defaults["n_vocab"])

    @property
    def tied_names(self) -> tuple[str, ...]:
        return self._outer_names if self.is_tied else ()

    def is_needless(self, name: str) -> bool:
        """Tell whether no one needs a tensor: a tied output matrix is a copy of the embedding."""
        return name in self.tied_names or super().is_needless(name)

    @property
    def _outer_names(self) -> tuple[str, str]:
        return f"{self.embedding_name}.weight", f"{self.head_name}.weight"

    def size_metadata(self) -> Metadata:
        """Return the keys of the sizes that all these families have, and of their norms' epsilon."""
        prefix = self.gguf_name
        return {
            **self.common_metadata(),
            f"{prefix}.attention.layer_norm_epsilon": float32(self.config.number(self.epsilon_name, 1e-5)),
        }

    def outer_rules(self, norm: str) -> list[TensorRule]:
        """Return the rules of embedding, last norm and output matrix, which a tied model may lack."""
        h = self.hyperparameters
        matrix, (embedding, head) = (self.vocabulary_size, h.n_embd), self._outer_names
        return [
            TensorRule("token_embd.weight", (embedding,), matrix),
            *norm_rules("output_norm", norm, h.n_embd, bias=True),
            TensorRule("output.weight", (head,), matrix, optional=self.is_tied),
        ]

    def fused_layer_rules(self, source: str, target: str, attention: str) -> list[TensorRule]:
        """Return the rules of a layer with BLOOM's names: q, k and v in one matrix, head by head.

        `attention` is the attention's name.
        """
        h = self.hyperparameters
        qkv = fused_qkv(h.n_head, h.n_head, self.head_dim)
        shape, fused = (qkv.of, h.n_embd), f"{source}.{attention}.query_key_value"
        dense, mlp = f"{source}.{attention}.dense", f"{source}.mlp"
        return [
            *norm_rules(f"{target}.attn_norm", f"{source}.input_layernorm", h.n_embd, bias=True),
            *norm_rules(f"{target}.ffn_norm", f"{source}.post_attention_layernorm", h.n_embd, bias=True),
            *linear_rules(f"{target}.attn_qkv", fused, shape, qkv, bias=True),
            *linear_rules(f"{target}.attn_output", dense, (h.n_embd, h.n_embd), bias=True),
            *linear_rules(f"{target}.ffn_up", f"{mlp}.dense_h_to_4h", (h.n_ff, h.n_embd), bias=True),
            *linear_rules(f"{target}.ffn_down", f"{mlp}.dense_4h_to_h", (h.n_embd, h.n_ff), bias=True),
        ]


def fused_qkv(n_head: int, n_head_kv: int, head_dim: int) -> Runs:
    """Reorder a fused projection's rows from groups of (queries, a key, a value) to all q, all k, all v.

    A group has the queries that share a key-value head; with as many of these as heads that is q, k, v head
    by head.
    """
    in_group = n_head // n_head_kv + 2
    starts = [group * in_group * head_dim for group in range(n_head_kv)]
    queries = [(start, start + (in_group - 2) * head_dim) for start in starts]
    keys = [(stop, stop + head_dim) for _, stop in queries]
    values = [(stop, stop + head_dim) for _, stop in keys]
    return Runs((*queries, *keys, *values), of=n_head_kv * in_group * head_dim)
