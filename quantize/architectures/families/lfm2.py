"""LFM2: most layers are short convolutions over tokens, others attend; experts; embedders."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import ClassVar

from models.errors import CheckpointError
from quantize.architectures.base.config import ModelConfig
from quantize.architectures.base.decoder import Decoder
from quantize.architectures.base.hybrid import kv_heads_metadata, layers_of_kind
from quantize.architectures.base.moe import (
    expert_count_metadata,
    expert_rules,
    gated_matrices,
    plain_rules,
    router_rule,
)
from quantize.architectures.base.rules import TensorRule, linear_rules, norm_rules
from quantize.architectures.base.sentence_files import NONE, prompts_metadata, require_modules
from quantize.architectures.base.state_space import convolution_rules
from quantize.architectures.base.transform import Constant
from quantize.architectures.base.vectors_only import VectorsOnly
from quantize.checkpoint.sentence_modules import DenseLayer
from quantize.gguf.header import Metadata, boolean, uint32

FEED_FORWARD = {"gate": "w1", "up": "w3", "down": "w2"}
SIGMOID = 2


class Lfm2(Decoder):
    """Lfm2ForCausalLM."""

    gguf_name = "lfm2"
    huggingface_names: ClassVar[tuple[str, ...]] = ("Lfm2ForCausalLM", "LFM2ForCausalLM")
    defaults: ClassVar[dict[str, int]] = {
        "vocab_size": 65536,
        "hidden_size": 2560,
        "intermediate_size": 12288,
        "num_hidden_layers": 32,
        "num_attention_heads": 32,
        "num_key_value_heads": 8,
        "max_position_embeddings": 128000,
        "conv_L_cache": 3,
    }
    aliases: ClassVar[Mapping[str, str]] = {
        "block_ff_dim": "intermediate_size",
        "tie_embedding": "tie_word_embeddings",
    }
    default_tied = True
    default_theta = 1e6
    epsilon_names = ("norm_eps",)
    reads_back = False
    null_kv_heads = False
    last_norm_name = "model.embedding_norm"

    def __init__(self, config: ModelConfig) -> None:
        super().__init__(config)
        self.attends = self._attention_layers()
        self.hyperparameters = dataclasses.replace(
            self.hyperparameters,
            n_head_kv=self.n_head_kv if self.attends[0] else 0,
            n_ff=self._feed_forward_size(),
        )
        if config.flag("conv_bias", False):
            raise CheckpointError(
                f"config.json has conv_bias; llama.cpp's `{self.gguf_name}` adds none to its convolutions"
            )

    def _attention_layers(self) -> tuple[bool, ...]:
        """Return for each layer True if it attends: by `layer_types`, `full_attn_idxs`, else all do."""
        n_layer = self.hyperparameters.n_layer
        if not self.config.has("layer_types"):
            layers = self.config.numbers("full_attn_idxs")
            return tuple(layers is None or layer in layers for layer in range(n_layer))
        return layers_of_kind(self.config, "layer_types", n_layer, {"full_attention": True, "conv": False})

    def _feed_forward_size(self) -> int:
        """Return the rows of the feed-forward, which config.json may state before its last adjustment."""
        n_ff = self.size("intermediate_size")
        if not self.config.flag("block_auto_adjust_ff_dim", True):
            return n_ff
        n_ff = int(2 * n_ff / 3)
        factor = self.config.number("block_ffn_dim_multiplier", 1.0)
        step = self.config.size("block_multiple_of", 256)
        return step * -(-int(factor * n_ff) // step)

    def metadata(self) -> Metadata:
        prefix = self.gguf_name
        return {
            **self.common_metadata(),
            **self.epsilon_metadata(),
            **self.rope.metadata(prefix, self.context_length),
            **kv_heads_metadata(prefix, self.n_head_kv, self.attends),
            f"{prefix}.vocab_size": uint32(self.vocabulary_size),
            f"{prefix}.shortconv.l_cache": uint32(self.size("conv_L_cache")),
        }

    def tensor_rules(self) -> Sequence[TensorRule]:
        rules = self.outer_rules()
        rules[1] = dataclasses.replace(rules[1], name="token_embd_norm.weight")
        for layer, attends in enumerate(self.attends):
            source, target = f"model.layers.{layer}", f"blk.{layer}"
            n_embd = self.hyperparameters.n_embd
            rules += norm_rules(f"{target}.attn_norm", f"{source}.operator_norm", n_embd)
            rules += norm_rules(f"{target}.ffn_norm", f"{source}.ffn_norm", n_embd)
            rules += (self._attention if attends else self._convolution)(source, target)
            rules += self.feed_forward_rules(layer)
        return rules

    def _attention(self, source: str, target: str) -> list[TensorRule]:
        n_embd, n_kv, attention = (
            self.hyperparameters.n_embd,
            self.n_head_kv * self.head_dim,
            f"{source}.self_attn",
        )
        return [
            *linear_rules(f"{target}.attn_q", f"{attention}.q_proj", (n_embd, n_embd)),
            *linear_rules(f"{target}.attn_k", f"{attention}.k_proj", (n_kv, n_embd)),
            *linear_rules(f"{target}.attn_v", f"{attention}.v_proj", (n_kv, n_embd)),
            *linear_rules(f"{target}.attn_output", f"{attention}.out_proj", (n_embd, n_embd)),
            *norm_rules(f"{target}.attn_q_norm", f"{attention}.q_layernorm", self.head_dim),
            *norm_rules(f"{target}.attn_k_norm", f"{attention}.k_layernorm", self.head_dim),
        ]

    def _convolution(self, source: str, target: str) -> list[TensorRule]:
        n_embd, kernel = self.hyperparameters.n_embd, self.size("conv_L_cache")
        return [
            *convolution_rules(f"{target}.shortconv.conv", f"{source}.conv.conv", (n_embd, kernel)),
            *linear_rules(f"{target}.shortconv.in_proj", f"{source}.conv.in_proj", (3 * n_embd, n_embd)),
            *linear_rules(f"{target}.shortconv.out_proj", f"{source}.conv.out_proj", (n_embd, n_embd)),
        ]

    def feed_forward_rules(self, layer: int) -> list[TensorRule]:
        """Return the rules of a layer's feed-forward; experts replace it."""
        matrices = gated_matrices(FEED_FORWARD, self.hyperparameters.n_embd, self.hyperparameters.n_ff)
        return plain_rules(f"blk.{layer}", "", f"model.layers.{layer}.feed_forward", matrices)


class Lfm2Embedder(VectorsOnly, Lfm2):
    """Lfm2Model and Lfm2BidirectionalModel: LFM2-ColBERT, LFM2.5-ColBERT, LFM2.5-Embedding.

    The bidirectional one's tokens attend to later ones, too, and its convolutions have their token in the
    middle. A ColBERT's vectors are those of its tokens, through a dense layer.
    """

    huggingface_names: ClassVar[tuple[str, ...]] = ("Lfm2Model", "Lfm2BidirectionalModel")

    def __init__(self, config: ModelConfig) -> None:
        super().__init__(config)
        self.dense: DenseLayer | None = None

    def with_dense(self, layers: Sequence[DenseLayer]) -> Lfm2Embedder:
        """Return the family with this layer behind its vectors.

        Raises CheckpointError: more than one, another width than its vectors', a bias or an activation.
        """
        if len(layers) > 1:
            raise CheckpointError(
                f"modules.json has {len(layers)} dense layers; llama.cpp's `{self.gguf_name}` computes one"
            )
        family = copy.copy(self)
        for layer in layers:
            layer.require_linear(self.gguf_name, self.hyperparameters.n_embd)
            family.dense = layer
        family.__dict__.pop("_source_names", None)
        return family

    @property
    def looks_ahead(self) -> bool:
        """True if tokens attend to later ones."""
        return self.config.architecture() == "Lfm2BidirectionalModel"

    def metadata(self) -> Metadata:
        prefix, keys = self.gguf_name, super().metadata()
        if self.looks_ahead:
            keys[f"{prefix}.attention.causal"] = boolean(False)
        if self.dense is not None:
            keys[f"{prefix}.embedding_length_out"] = uint32(self.dense.n_out)
        return keys

    def tensor_rules(self) -> Sequence[TensorRule]:
        rules, dense = list(super().tensor_rules()), self.dense
        if dense is not None:
            rules.append(TensorRule("dense_2.weight", (dense.weight_name,), (dense.n_out, dense.n_in)))
        return rules

    def folder_metadata(self, directory: Path) -> Metadata:
        """Return the keys of sentence-transformers' files, without which nobody knows the vectors.

        Without a pooling among them, the tokens' vectors count.
        """
        require_modules(directory)
        none: Metadata = {f"{self.gguf_name}.pooling_type": uint32(NONE), **prompts_metadata(directory)}
        return super().folder_metadata(directory) or none


class Lfm2Moe(Lfm2):
    """Lfm2MoeForCausalLM: experts in all layers but the first ones."""

    gguf_name = "lfm2moe"
    huggingface_names: ClassVar[tuple[str, ...]] = ("Lfm2MoeForCausalLM",)
    defaults: ClassVar[dict[str, int]] = {
        **Lfm2.defaults,
        "hidden_size": 2048,
        "intermediate_size": 7168,
        "moe_intermediate_size": 1792,
        "num_experts": 32,
        "num_experts_per_tok": 4,
    }
    aliases: ClassVar[Mapping[str, str]] = {"tie_embedding": "tie_word_embeddings"}

    def __init__(self, config: ModelConfig) -> None:
        super().__init__(config)
        self.hyperparameters = dataclasses.replace(self.hyperparameters, n_expert=self.size("num_experts"))
        if not config.flag("norm_topk_prob", True) or config.number("routed_scaling_factor", 1.0) != 1:
            raise CheckpointError(
                "config.json has norm_topk_prob false or a routed_scaling_factor other than 1; llama.cpp's "
                "`lfm2moe` lets the weights of a token's experts add up to one"
            )

    def _attention_layers(self) -> tuple[bool, ...]:
        kinds = {"full_attention": True, "conv": False}
        return layers_of_kind(self.config, "layer_types", self.hyperparameters.n_layer, kinds)

    def _feed_forward_size(self) -> int:
        return self.size("intermediate_size")

    @property
    def dense_layers(self) -> int:
        """The number of layers at the start that have no experts."""
        return self.config.count("num_dense_layers", 2)

    def metadata(self) -> Metadata:
        prefix, n_expert = self.gguf_name, self.hyperparameters.n_expert
        return {
            **super().metadata(),
            **expert_count_metadata(prefix, n_expert, self.size("num_experts_per_tok")),
            f"{prefix}.expert_feed_forward_length": uint32(self.size("moe_intermediate_size")),
            f"{prefix}.leading_dense_block_count": uint32(self.dense_layers),
            f"{prefix}.expert_gating_func": uint32(SIGMOID),
        }

    def feed_forward_rules(self, layer: int) -> list[TensorRule]:
        if layer < self.dense_layers:
            return super().feed_forward_rules(layer)
        n_expert, n_embd = self.hyperparameters.n_expert, self.hyperparameters.n_embd
        source, target = f"model.layers.{layer}.feed_forward", f"blk.{layer}"
        matrices = gated_matrices(FEED_FORWARD, n_embd, self.size("moe_intermediate_size"))
        bias = f"{target}.exp_probs_b.bias"
        return [
            router_rule(f"{target}.ffn_gate_inp", f"{source}.gate", (n_expert, n_embd)),
            TensorRule(bias, (f"{source}.expert_bias",), (n_expert,))
            if self.config.flag("use_expert_bias", True)
            else TensorRule(bias, (), (n_expert,), Constant((0.0,) * n_expert)),
            *expert_rules(target, f"{source}.experts", n_expert, matrices),
        ]
