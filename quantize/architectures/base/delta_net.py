"""Gated delta nets, Qwen's from 3-Next on: layers of linear attention between those that attend.

A layer of linear attention has a state per value head instead of keys and values. Several value heads share a
head of queries and keys. The checkpoint may hold one further layer, `mtp`, which predicts the token after the
next: it becomes the file's last block.
"""

from __future__ import annotations

import dataclasses
from abc import abstractmethod
from collections.abc import Iterable, Sequence
from typing import ClassVar, Final

from models.errors import CheckpointError
from quantize.architectures.base.architecture import Architecture
from quantize.architectures.base.config import ModelConfig
from quantize.architectures.base.llama_like import QKV, HeadDimKeys, LlamaLike
from quantize.architectures.base.rules import TensorRule, linear_rules, norm_rules
from quantize.architectures.base.transform import Channels, ColumnRuns, Exp, Plus, Runs
from quantize.gguf.header import Metadata, ValueType, array, uint32

KINDS: Final = {"linear_attention": True, "full_attention": False}
INTERVAL: Final = 4
"""The usual number of layers of which the last one attends; llama.cpp asks for it where no list says more."""

FURTHER: Final = "mtp."
"""The beginning of the names of the layer that predicts a further token."""

FURTHER_MATRIX: Final = "mtp.fc.weight"

LINEAR_DEFAULTS: Final = {
    "head_dim": 256,
    "max_position_embeddings": 32768,
    "linear_conv_kernel_dim": 4,
    "linear_key_head_dim": 128,
    "linear_value_head_dim": 128,
    "linear_num_key_heads": 16,
    "linear_num_value_heads": 32,
}


class DeltaNet(LlamaLike):
    """A decoder most of whose layers are gated delta nets; the others' queries come with a gate for each."""

    biases: ClassVar[dict[str, tuple[str, bool]]] = dict.fromkeys(QKV, ("attention_bias", False))
    norms: ClassVar[dict[str, str]] = {
        "attn_norm": "input_layernorm",
        "post_attention_norm": "post_attention_layernorm",
    }
    norm_transform = Plus(1.0)
    head_dim_keys: ClassVar[HeadDimKeys] = "always"
    own_head_dim = True
    null_kv_heads = False
    shares_in_order: ClassVar[bool] = False
    """True if llama.cpp has the value heads that share a key head beside each other."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__(config)
        self.n_trunk = self.hyperparameters.n_layer
        self.kernel, self.state = self.size("linear_conv_kernel_dim"), self.size("linear_key_head_dim")
        self.n_key_heads = self.size("linear_num_key_heads")
        self.n_value_heads = self.size("linear_num_value_heads")
        if self.n_value_heads % self.n_key_heads or self.size("linear_value_head_dim") != self.state:
            raise CheckpointError(
                "config.json has linear attention whose value heads are of another size than its key heads, "
                f"or no multiple of them in number; llama.cpp's `{self.gguf_name}` doesn't compute it"
            )
        self.recurrent = self._recurrent_layers()

    def _recurrent_layers(self) -> tuple[bool, ...]:
        """Return for each layer True if its attention is linear: by `layer_types`, else three of four."""
        kinds = self.config.texts("layer_types")
        if kinds is None:
            return tuple((layer + 1) % self.interval != 0 for layer in range(self.n_trunk))
        if len(kinds) != self.n_trunk or not set(kinds) <= set(KINDS):
            raise CheckpointError(
                f"layer_types in config.json has {len(kinds)} entries, {', '.join(sorted(set(kinds)))}; "
                f"expected are {self.n_trunk}, each linear_attention or full_attention"
            )
        return tuple(KINDS[kind] for kind in kinds)

    @property
    def interval(self) -> int:
        """The number of layers of which the last one attends."""
        return self.config.size("full_attention_interval", INTERVAL)

    def with_tensors(self, names: Iterable[str]) -> Architecture:
        """Return the family with the further layer, if there is one; llama.cpp computes no more than one."""
        usual = {self.usual_name(name).removeprefix(self.base_prefix) for name in names}
        if FURTHER_MATRIX not in usual or any(name.startswith(f"{FURTHER}layers.1.") for name in usual):
            return self
        further = type(self)(self.config)
        sizes = dataclasses.replace(self.hyperparameters, n_layer=self.n_trunk + 1)
        further.hyperparameters = sizes
        return further

    def is_needless(self, name: str) -> bool:
        """Tell whether no one needs a tensor: that of a further layer which isn't kept."""
        is_further = name.removeprefix(self.base_prefix).startswith(FURTHER)
        return (is_further and self.n_further == 0) or super().is_needless(name)

    @property
    def n_further(self) -> int:
        """The number of layers that predict further tokens."""
        return self.hyperparameters.n_layer - self.n_trunk

    def metadata(self) -> Metadata:
        prefix, layers = self.gguf_name, (*self.recurrent, *(False,) * self.n_further)
        keys: Metadata = {
            **super().metadata(),
            f"{prefix}.ssm.conv_kernel": uint32(self.kernel),
            f"{prefix}.ssm.state_size": uint32(self.state),
            f"{prefix}.ssm.group_count": uint32(self.n_key_heads),
            f"{prefix}.ssm.time_step_rank": uint32(self.n_value_heads),
            f"{prefix}.ssm.inner_size": uint32(self.state * self.n_value_heads),
            f"{prefix}.full_attention_interval": uint32(
                self.interval if self.config.has("layer_types") else INTERVAL
            ),
            f"{prefix}.attention.recurrent_layers": array(ValueType.BOOL, layers),
            f"{prefix}.rope.dimension_count": uint32(int(self.head_dim * self.rotary_share(0.25))),
        }
        if self.n_further:
            keys[f"{prefix}.nextn_predict_layers"] = uint32(self.n_further)
        return keys

    def tensor_rules(self) -> Sequence[TensorRule]:
        rules = self.outer_rules(self.norm_transform)
        for layer in range(self.n_trunk):
            rules += self.layer_rules(f"model.layers.{layer}", f"blk.{layer}")
        if self.n_further:
            rules += self._further_rules(f"blk.{self.n_trunk}")
        return rules

    def _further_rules(self, target: str) -> list[TensorRule]:
        n_embd, plus = self.hyperparameters.n_embd, self.norm_transform
        return [
            *self.layer_rules(f"{FURTHER}layers.0", target),
            *linear_rules(f"{target}.nextn.eh_proj", f"{FURTHER}fc", (n_embd, 2 * n_embd)),
            *norm_rules(f"{target}.nextn.enorm", f"{FURTHER}pre_fc_norm_embedding", n_embd, plus),
            *norm_rules(f"{target}.nextn.hnorm", f"{FURTHER}pre_fc_norm_hidden", n_embd, plus),
            *norm_rules(f"{target}.nextn.shared_head_norm", f"{FURTHER}norm", n_embd, plus),
        ]

    def layer_attention_rules(self, source: str, target: str) -> list[TensorRule]:
        layer = int(target.rpartition(".")[2])
        if layer < self.n_trunk and self.recurrent[layer]:
            return self.linear_attention_rules(f"{source}.linear_attn", target)
        h, attention = self.hyperparameters, f"{source}.self_attn"
        n_q, n_kv = h.n_head * self.head_dim, h.n_head_kv * self.head_dim
        return [
            *self.matrix_rules(source, target, "attn_q", (2 * n_q, h.n_embd)),
            *self.matrix_rules(source, target, "attn_k", (n_kv, h.n_embd)),
            *self.matrix_rules(source, target, "attn_v", (n_kv, h.n_embd)),
            *self.matrix_rules(source, target, "attn_output", (h.n_embd, n_q)),
            *norm_rules(f"{target}.attn_q_norm", f"{attention}.q_norm", self.head_dim, self.norm_transform),
            *norm_rules(f"{target}.attn_k_norm", f"{attention}.k_norm", self.head_dim, self.norm_transform),
        ]

    def linear_attention_rules(self, source: str, target: str) -> list[TensorRule]:
        """Return the rules of a gated delta net."""
        n, n_embd, state = self.n_value_heads, self.hyperparameters.n_embd, self.state
        single, n_value = Runs(self.value_runs(1), n), n * state
        return [
            *self.projection_rules(source, target),
            TensorRule(
                f"{target}.ssm_conv1d.weight",
                (f"{source}.conv1d.weight",),
                (self.n_keys + n_value, self.kernel),
                Channels(self.keys_and_values()),
                f32=True,
            ),
            TensorRule(f"{target}.ssm_dt.bias", (f"{source}.dt_bias",), (n,), single),
            TensorRule(f"{target}.ssm_a", (f"{source}.A_log",), (n,), Exp(-1.0, single)),
            *norm_rules(f"{target}.ssm_norm", f"{source}.norm", state),
            *linear_rules(
                f"{target}.ssm_out",
                f"{source}.out_proj",
                (n_embd, n_value),
                ColumnRuns(self.value_runs(state)),
            ),
        ]

    @property
    def n_keys(self) -> int:
        """The rows of all heads' queries and keys."""
        return 2 * self.n_key_heads * self.state

    def value_runs(self, size: int, first: int = 0) -> tuple[tuple[int, int], ...]:
        """Return where the value heads are, of `size` rows each behind row `first`, in llama.cpp's order.

        A checkpoint has those that share a key head beside each other. llama.cpp repeats the key heads as a
        whole (unless `shares_in_order`), so that there the first of each comes before the second of any.
        """
        n, heads = self.n_value_heads, self.n_key_heads
        order = (
            range(n)
            if self.shares_in_order
            else [i for at in range(n // heads) for i in range(at, n, n // heads)]
        )
        return tuple((first + i * size, first + (i + 1) * size) for i in order)

    def keys_and_values(self) -> Runs:
        """Return the transform of queries, keys and values, one below the other."""
        values = self.value_runs(self.state, self.n_keys)
        return Runs(((0, self.n_keys), *values), self.n_keys + self.n_value_heads * self.state)

    @abstractmethod
    def projection_rules(self, source: str, target: str) -> list[TensorRule]:
        """Return the rules of the matrices that make queries, keys, values, gates and steps."""
