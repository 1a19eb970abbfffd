"""Granite 4 and Bamba: a few layers attend, the others are state spaces of Mamba 2."""

from __future__ import annotations

import dataclasses
from abc import abstractmethod
from collections.abc import Mapping
from typing import ClassVar

from models.errors import CheckpointError
from quantize.architectures.base.config import ModelConfig
from quantize.architectures.base.hybrid import kv_heads_metadata, layers_of_kind
from quantize.architectures.base.moe import fused_gate_up
from quantize.architectures.base.rope import Rope
from quantize.architectures.base.rules import TensorRule
from quantize.architectures.base.state_space import StateSpace, check_head_size, check_time_steps
from quantize.architectures.base.transform import RotaryHeads
from quantize.architectures.families.granite import Granite, GraniteMoe
from quantize.architectures.families.llama import Llama
from quantize.gguf.header import Metadata, boolean, uint32

KINDS = {"attention": True, "full_attention": True, "mamba": False, "linear_attention": False}
"""The kinds of layers by their older and newer names; True for those that attend."""

UNLIMITED = 2**20
"""The context, in tokens, that llama.cpp's files state for models without positions."""


class LlamaWithStates(Llama):
    """Llama's shape, in which some layers have a state space in place of attention."""

    reads_back = False

    def __init__(self, config: ModelConfig) -> None:
        self.config = config
        self.attends = self._attention_layers(self.size("num_hidden_layers"))
        super().__init__(config)
        self.hyperparameters = dataclasses.replace(
            self.hyperparameters, n_head_kv=self.n_head_kv if self.attends[0] else 0
        )
        check_time_steps(config, self.gguf_name)
        if config.flag("mamba_proj_bias", False) or self.size("mamba_expand") != 2:
            raise CheckpointError(
                "config.json has mamba_proj_bias, or a mamba_expand other than 2; llama.cpp's "
                f"`{self.gguf_name}` computes state spaces without biases, twice as wide as the embedding"
            )
        n_embd = self.hyperparameters.n_embd
        self.states = StateSpace(
            n_embd,
            inner=2 * n_embd,
            n_head=self.size("mamba_n_heads"),
            n_group=self.size("mamba_n_groups"),
            n_state=self.size("mamba_d_state"),
            kernel=self.size("mamba_d_conv"),
            conv_bias=config.flag("mamba_conv_bias", True),
        )
        check_head_size(config, self.states)

    def _read_rope(self) -> Rope:
        """Return the rotary settings, whose scaling counts for nothing where there are no positions."""
        rope = super()._read_rope()
        rope.metadata(self.gguf_name, self.context_length)
        rope.llama3_factors(2, self.context_length)
        return rope if self.rotates else dataclasses.replace(rope, kind="default")

    @abstractmethod
    def _attention_layers(self, n_layer: int) -> tuple[bool, ...]:
        """Return for each layer True if it attends. Raises CheckpointError."""

    @property
    def rotates(self) -> bool:
        """True if the layers that attend have rotary positions."""
        return True

    def metadata(self) -> Metadata:
        prefix = self.gguf_name
        keys = super().metadata() | kv_heads_metadata(prefix, self.n_head_kv, self.attends)
        keys[f"{prefix}.rope.scaling.finetuned"] = boolean(self.rotates)
        return keys if all(self.attends) else keys | self.states.metadata(prefix)

    def layer_attention_rules(self, source: str, target: str) -> list[TensorRule]:
        if self.attends[int(target.removeprefix("blk."))]:
            return super().layer_attention_rules(source, target)
        return self.states.rules(f"{source}.mamba", target)


class GraniteHybrid(LlamaWithStates, GraniteMoe):
    """GraniteMoeHybridForCausalLM: Granite 4; with experts or without; some attend in all layers."""

    gguf_name = "granitehybrid"
    huggingface_names: ClassVar[tuple[str, ...]] = ("GraniteMoeHybridForCausalLM",)
    defaults: ClassVar[dict[str, int]] = {
        **GraniteMoe.defaults,
        "shared_intermediate_size": 1024,
        "mamba_n_heads": 128,
        "mamba_n_groups": 1,
        "mamba_d_state": 256,
        "mamba_d_conv": 4,
        "mamba_expand": 2,
    }
    aliases: ClassVar[Mapping[str, str]] = {"layers_block_type": "layer_types"}

    def __init__(self, config: ModelConfig) -> None:
        super().__init__(config)
        if not self.expert_count:
            self.hyperparameters = dataclasses.replace(
                self.hyperparameters, n_ff=self.size("shared_intermediate_size")
            )

    def _attention_layers(self, n_layer: int) -> tuple[bool, ...]:
        """Return the layers that attend; of a model in which all do, change the name in GGUF."""
        if not self.config.has("layer_types"):
            return (False,) * n_layer
        attends = layers_of_kind(self.config, "layer_types", n_layer, KINDS)
        if all(attends):
            self.gguf_name = GraniteMoe.gguf_name if self.expert_count else Granite.gguf_name
        return attends

    @property
    def expert_count(self) -> int:
        return self.config.count("num_local_experts", self.defaults["num_local_experts"])

    @property
    def rotates(self) -> bool:
        return self.config.optional_text("position_embedding_type") == "rope"

    @property
    def n_ff_shared(self) -> int:
        return self.size("shared_intermediate_size")

    @property
    def context_length(self) -> int:
        return super().context_length if self.rotates else UNLIMITED

    def feed_forward_rules(self, source: str, target: str) -> list[TensorRule]:
        if self.expert_count:
            return super().feed_forward_rules(source, target)
        n_ff, n_embd = self.n_ff_shared, self.hyperparameters.n_embd
        rules = []
        for part in ("gate", "up", "down"):
            name = f"{source}.shared_mlp.{'output' if part == 'down' else 'input'}_linear.weight"
            shape = (n_embd, n_ff) if part == "down" else (n_ff, n_embd)
            rules.append(TensorRule(f"{target}.ffn_{part}.weight", (name,), shape, fused_gate_up(part, n_ff)))
        return rules


class Bamba(LlamaWithStates):
    """BambaForCausalLM: heads are rotated by half."""

    gguf_name = "granitehybrid"
    huggingface_names: ClassVar[tuple[str, ...]] = ("BambaForCausalLM",)
    defaults: ClassVar[dict[str, int]] = {
        **GraniteHybrid.defaults,
        "vocab_size": 128000,
        "intermediate_size": 14336,
        "num_key_value_heads": 8,
        "max_position_embeddings": 262144,
    }
    default_epsilon = 1e-5
    norms: ClassVar[dict[str, str]] = {"attn_norm": "input_layernorm", "ffn_norm": "pre_ff_layernorm"}
    last_norm_name = "model.final_layernorm"
    renames: ClassVar[tuple[tuple[str, str], ...]] = ((".feed_forward.", ".mlp."),)
    own_head_dim = False
    head_dim_keys = "never"

    def _attention_layers(self, n_layer: int) -> tuple[bool, ...]:
        listed = self.config.numbers("attn_layer_indices") or ()
        if len(set(listed) & set(range(n_layer))) == n_layer:
            raise CheckpointError("config.json has attention in each layer, which llama.cpp has no Bamba for")
        return tuple(layer in listed for layer in range(n_layer))

    @property
    def rotated(self) -> int:
        """The numbers of a head that are rotated."""
        return self.head_dim // 2

    def metadata(self) -> Metadata:
        return super().metadata() | {f"{self.gguf_name}.rope.dimension_count": uint32(self.rotated)}

    def matrix_rules(self, source: str, target: str, part: str, shape: tuple[int, int]) -> list[TensorRule]:
        rules = super().matrix_rules(source, target, part, shape)
        if part not in ("attn_q", "attn_k"):
            return rules
        rotary = RotaryHeads(self.head_dim, rotated=self.rotated)
        return [dataclasses.replace(rule, transform=rotary) for rule in rules]
