"""DeciLM 7B and Nemotron NAS (51B, Super 49B, Ultra 253B): Llama whose layers differ or lack parts."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from models.errors import CheckpointError
from quantize.architectures.base.config import ModelConfig
from quantize.architectures.base.llama_like import HeadDimKeys
from quantize.architectures.base.rules import TensorRule, linear_rules, norm_rules
from quantize.architectures.base.transform import Constant, RotaryHeads, Same, Transform
from quantize.architectures.families.llama import Llama
from quantize.gguf.header import Metadata, ValueType, array
from quantize.vocabulary.vocabulary import Vocabulary

MULTIPLE = 256
PER_LAYER = "num_key_value_heads_per_layer"


@dataclass(frozen=True)
class Layer:
    """The sizes of a layer, 0 for parts that it lacks; with heads alone attention is one matrix."""

    n_head: int
    n_head_kv: int
    n_ff: int


class Deci(Llama):
    """DeciLMForCausalLM. Its layers are `block_configs`, or differ in their key-value heads alone."""

    gguf_name = "deci"
    huggingface_names: ClassVar[tuple[str, ...]] = ("DeciLMForCausalLM",)
    reads_back = False
    biases: ClassVar[dict[str, tuple[str, bool]]] = {}
    refused_flags: ClassVar[dict[str, str]] = {
        "attention_bias": "attends without biases",
        "mlp_bias": "feeds forward without biases",
    }
    head_dim_keys: ClassVar[HeadDimKeys] = "never"
    own_head_dim = False

    def __init__(self, config: ModelConfig) -> None:
        self.blocks = _blocks(config)
        super().__init__(config)
        h = self.hyperparameters
        self.layers = self._layers(config)
        if len(self.layers) != h.n_layer:
            raise CheckpointError(f"config.json has {len(self.layers)} layers' sizes for {h.n_layer} layers")
        first = self.layers[0]
        lacking = [
            layer
            for layer, sizes in enumerate(self.layers)
            if not sizes.n_ff and (sizes.n_head or layer == h.n_layer - 1)
        ]
        if lacking:
            raise CheckpointError(
                f"config.json has a layer {lacking[0]} without feed-forward that attends or is the last one; "
                "llama.cpp's `deci` leaves such a layer out"
            )
        self.hyperparameters = dataclasses.replace(
            h, n_head=first.n_head, n_head_kv=first.n_head_kv, n_ff=first.n_ff
        )

    def size(self, name: str) -> int:
        """Return a size; that of the feed-forward is each layer's own."""
        if name == "intermediate_size" and self.blocks:
            return self.config.optional_size(name) or self.defaults[name]
        return super().size(name)

    def _kv_heads(self, n_head: int) -> int:
        return n_head if self.blocks or self.config.has(PER_LAYER) else super()._kv_heads(n_head)

    def _layers(self, config: ModelConfig) -> list[Layer]:
        h = self.hyperparameters
        if self.blocks:
            return [self._block(ModelConfig(block, "block_configs in config.json")) for block in self.blocks]
        per_layer = config.numbers(PER_LAYER)
        kv_heads = [h.n_head_kv] * h.n_layer if per_layer is None else [int(n) for n in per_layer]
        if not all(n > 0 and h.n_head % n == 0 for n in kv_heads):
            raise CheckpointError(f"config.json has {PER_LAYER} {kv_heads} for {h.n_head} heads")
        return [Layer(h.n_head, n, h.n_ff) for n in kv_heads]

    def _block(self, block: ModelConfig) -> Layer:
        """Return the sizes of one of `block_configs`."""
        h, nothing = self.hyperparameters, ModelConfig({})
        attention, mlp = block.section("attention") or nothing, block.section("ffn") or nothing
        if mlp.optional_flag("replace_with_linear", False):
            raise CheckpointError(
                "block_configs in config.json has a feed-forward that is one matrix, which llama.cpp's `deci`"
                " doesn't compute"
            )
        for name in ("window_length", "num_sink_tokens"):
            if attention.has(name):
                raise CheckpointError(
                    f"block_configs in config.json has {name}; llama.cpp's `deci` attends to everything"
                )
        group, multiplier = attention.optional_size("n_heads_in_group"), mlp.optional_number("ffn_mult")
        n_head, n_kv = h.n_head, 0
        if group is not None:
            if h.n_head % group:
                raise CheckpointError(f"config.json has groups of {group} heads for {h.n_head} heads")
            n_kv = h.n_head // group
        elif not attention.optional_flag("replace_with_linear", False):
            n_head = 0
        n_ff = 0 if multiplier is None else -(-int(2 * multiplier * h.n_embd / 3) // MULTIPLE) * MULTIPLE
        return Layer(n_head, n_kv, n_ff)

    def metadata(self) -> Metadata:
        prefix, keys = self.gguf_name, super().metadata()
        heads, kv_heads, widths = (
            array(ValueType.INT32, [getattr(layer, name) for layer in self.layers])
            for name in ("n_head", "n_head_kv", "n_ff")
        )
        if self.blocks:
            keys |= self.head_size_metadata()
            keys |= {f"{prefix}.attention.head_count": heads, f"{prefix}.feed_forward_length": widths}
        if self.blocks or self.config.has(PER_LAYER):
            keys[f"{prefix}.attention.head_count_kv"] = kv_heads
        return keys

    def tensor_rules(self) -> Sequence[TensorRule]:
        rules = self.outer_rules()
        for layer, sizes in enumerate(self.layers):
            rules += self._layer_rules(f"model.layers.{layer}", f"blk.{layer}", sizes)
        factors = self.rope.llama3_factors(self.head_dim, self.context_length)
        if factors is not None:
            rules.append(TensorRule("rope_freqs.weight", (), (len(factors),), Constant(factors)))
        return rules

    def _layer_rules(self, source: str, target: str, sizes: Layer) -> list[TensorRule]:
        n_embd, rotated = self.hyperparameters.n_embd, RotaryHeads(self.head_dim)
        n_q, n_kv = sizes.n_head * self.head_dim, sizes.n_head_kv * self.head_dim
        matrices: dict[str, tuple[str, tuple[int, int], Transform]] = {}
        if n_kv:
            matrices |= {
                "attn_q": ("self_attn.q_proj", (n_q, n_embd), rotated),
                "attn_k": ("self_attn.k_proj", (n_kv, n_embd), rotated),
                "attn_v": ("self_attn.v_proj", (n_kv, n_embd), Same()),
                "attn_output": ("self_attn.o_proj", (n_embd, n_q), Same()),
            }
        elif n_q:
            matrices["attn_output"] = ("self_attn.linear_attn", (n_embd, n_embd), Same())
        if sizes.n_ff:
            matrices |= {
                "ffn_gate": ("mlp.gate_proj", (sizes.n_ff, n_embd), Same()),
                "ffn_up": ("mlp.up_proj", (sizes.n_ff, n_embd), Same()),
                "ffn_down": ("mlp.down_proj", (n_embd, sizes.n_ff), Same()),
            }
        rules: list[TensorRule] = []
        if n_q:
            rules += norm_rules(f"{target}.attn_norm", f"{source}.input_layernorm", n_embd)
        if sizes.n_ff:
            rules += norm_rules(f"{target}.ffn_norm", f"{source}.post_attention_layernorm", n_embd)
        for part, (name, shape, transform) in matrices.items():
            rules += linear_rules(f"{target}.{part}", f"{source}.{name}", shape, transform)
        return rules

    def vocabulary_metadata(self, vocabulary: Vocabulary) -> Metadata:
        del vocabulary
        return {}


def _blocks(config: ModelConfig) -> list[dict[str, Any]]:
    """Return `block_configs`, which only the models of the NAS have."""
    blocks = config.raw("block_configs") or []
    if not isinstance(blocks, list) or not all(isinstance(block, dict) for block in blocks):
        raise CheckpointError("block_configs in config.json is no list of objects, one for each layer")
    return blocks
