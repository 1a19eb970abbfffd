"""Gemma 4, text only: layers of two kinds, whose heads, frequencies and key-value heads differ.

Layers with a window have heads of `head_dim`; those without have larger ones, of which a part is rotated.
Small models add an embedding of each token to each layer, and their last layers use the keys and values of
earlier ones; a large one has experts beside each feed-forward. Vision and audio are left out.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import ClassVar

from models.errors import CheckpointError
from quantize.architectures.base.config import ModelConfig
from quantize.architectures.base.decoder import GELU_TANH, Decoder
from quantize.architectures.base.moe import expert_count_metadata, router_rule
from quantize.architectures.base.rope import LAYER_TYPES, Rope
from quantize.architectures.base.rules import TensorRule, linear_rules, norm_rules
from quantize.architectures.base.sliding_window import sliding_layers
from quantize.architectures.base.transform import Constant
from quantize.checkpoint.json_file import optional_json_object
from quantize.gguf.header import Metadata, ValueType, array, boolean, float32, uint32
from quantize.vocabulary.vocabulary import Vocabulary

NOT_TEXT = ("vision_", "audio_", "embed_vision.", "embed_audio.", "multi_modal_projector.")
"""The beginnings of tensors' names that see or hear."""

UNROTATED = 1e30
"""The divisor of a frequency that leaves a number as it is at every position."""

NORMS = {
    "attn_norm": "input_layernorm",
    "post_attention_norm": "post_attention_layernorm",
    "ffn_norm": "pre_feedforward_layernorm",
    "post_ffw_norm": "post_feedforward_layernorm",
}
EXPERT_NORMS = {
    "post_ffw_norm_1": "post_feedforward_layernorm_1",
    "pre_ffw_norm_2": "pre_feedforward_layernorm_2",
    "post_ffw_norm_2": "post_feedforward_layernorm_2",
}
FULL_ROPE = {"rope_type": "proportional", "partial_rotary_factor": 0.25, "rope_theta": 1e6}
"""The rotary settings of layers without a window where config.json has none."""


class Gemma4(Decoder):
    """Gemma4ForCausalLM, and the text part of Gemma4ForConditionalGeneration."""

    gguf_name = "gemma4"
    huggingface_names: ClassVar[tuple[str, ...]] = ("Gemma4ForCausalLM", "Gemma4ForConditionalGeneration")
    reads_back = False
    defaults: ClassVar[Mapping[str, int]] = {
        "vocab_size": 262144,
        "hidden_size": 2304,
        "intermediate_size": 9216,
        "num_hidden_layers": 30,
        "num_attention_heads": 8,
        "num_key_value_heads": 4,
        "head_dim": 256,
        "max_position_embeddings": 131072,
        "sliding_window": 512,
        "hidden_size_per_layer_input": 256,
    }
    default_epsilon = 1e-6
    default_tied = True
    null_kv_heads = False
    own_head_dim = True
    activations = ("gelu_pytorch_tanh", *GELU_TANH)
    activation_name = "hidden_activation"
    window_period: ClassVar[int] = 6
    embeds_per_layer: ClassVar[bool] = True
    """True if the model may have an embedding of each token for each layer."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__(config.with_section("text_config"))
        config = self.config
        if config.flag("attention_bias", False):
            raise CheckpointError(
                "config.json has attention_bias; llama.cpp's `gemma4` has no place for biases"
            )
        if config.optional_text("use_bidirectional_attention") == "all":
            raise CheckpointError(
                "config.json has use_bidirectional_attention all; llama.cpp's `gemma4` looks back only"
            )
        self.slides = self._window_layers()
        self.n_shared = config.count("num_kv_shared_layers", 0)
        self._check_sources()
        self.n_embd_per_layer = self._per_layer_size() if self.embeds_per_layer else 0
        self.full_head_dim, self.full_kv_heads = self._full_layers()
        has_experts = self.embeds_per_layer and config.flag("enable_moe_block", False)
        n_expert = config.size("num_experts") if has_experts else 0
        self.hyperparameters = dataclasses.replace(self.hyperparameters, n_expert=n_expert)

    def _per_layer_size(self) -> int:
        name = "hidden_size_per_layer_input"
        size = self.config.count(name, self.defaults[name])
        rows = self.config.size("vocab_size_per_layer_input", 262144)
        if size and rows != self.vocabulary_size:
            raise CheckpointError(
                f"config.json has vocab_size_per_layer_input {rows} and vocab_size {self.vocabulary_size}; "
                "in llama.cpp's `gemma4` each token has an embedding for each layer"
            )
        return size

    def _check_sources(self) -> None:
        """Check that the two layers before those that reuse are of both kinds, as llama.cpp takes it."""
        first = self.hyperparameters.n_layer - self.n_shared
        if self.n_shared and (first < 2 or self.slides[first - 2 : first] != (True, False)):
            raise CheckpointError(
                f"config.json has num_kv_shared_layers {self.n_shared}; llama.cpp's `gemma4` lets the last "
                "layers use the keys and values of the two before them, one with a window and one without"
            )

    def _window_layers(self) -> tuple[bool, ...]:
        """Return for each layer True if it has the window; the last one never has, as in the class."""
        layers = sliding_layers(self.config, self.hyperparameters.n_layer, self.window_period)
        return (*layers[:-1], False)

    def _full_layers(self) -> tuple[int, int]:
        """Return the size of heads in layers without a window, and the number of their key-value heads.

        config.json says them in two fields, or as transformers writes it, layer by layer.
        """
        config, n_kv = self.config, self.hyperparameters.n_head_kv
        section = config.section("per_layer_config")
        if section is None:
            n_full = config.optional_size("num_global_key_value_heads")
            shared = not config.flag("attention_k_eq_v", False) or n_full is None
            return config.size("global_head_dim", 512), n_kv if shared or n_full is None else n_full
        names = [
            name for name in config.raw("per_layer_config") if name.isdecimal()
        ]  # of a model of 30: "05"
        layers = {int(name): section.section(name) or ModelConfig({}) for name in names}
        full = [layer for layer, slides in enumerate(self.slides) if not slides]
        sizes = {
            (each.size("head_dim", self.head_dim), each.size("num_key_value_heads", n_kv))
            for each in (layers.get(layer, ModelConfig({})) for layer in full)
        }
        if len(sizes) != 1 or any(layers[layer].has_other_than(()) for layer in set(layers) - set(full)):
            raise CheckpointError(
                "config.json has a per_layer_config in which layers of one type differ; llama.cpp's `gemma4` "
                "has one size of heads for each type"
            )
        return sizes.pop()

    def _read_rope(self) -> Rope:
        """Return the settings of layers without a window, and set `local_rope`, those of the others."""
        nested, nothing = self.config.section("rope_parameters"), ModelConfig({})
        if nested is None:
            nested = ModelConfig({LAYER_TYPES[0]: FULL_ROPE})
        flat = nested.has_other_than(LAYER_TYPES) or not nested.has(LAYER_TYPES[0])
        if flat or self.config.has("rope_scaling"):
            raise CheckpointError(
                "config.json has rotary settings that aren't full_attention's and sliding_attention's in "
                "rope_parameters; write them there"
            )
        full, local = (
            Rope.of_section(nested.section(kind) or nothing, nothing, self.default_theta)
            for kind in LAYER_TYPES
        )
        self.local_rope = local
        if full.kind == "proportional":
            full.parameters.number("rope_theta")
        if full.kind not in ("proportional", "default") or local.kind != "default":
            raise CheckpointError(
                f"config.json has the rope_types {full.kind} and {local.kind} (sliding_attention); "
                "llama.cpp's `gemma4` computes proportional and default"
            )
        return full

    @cached_property
    def frequency_divisors(self) -> tuple[float, ...]:
        """The divisors of frequencies in layers without a window: a head's first part is rotated."""
        half = self.full_head_dim // 2
        if self.rope.kind == "default":
            return (1.0,) * half
        share = self.rope.parameters.number("partial_rotary_factor", 1.0)
        rotated = min(int(share * self.full_head_dim // 2), half)
        factor = self.rope.parameters.number("factor", 1.0)
        return (factor,) * rotated + (UNROTATED,) * (half - rotated)

    def is_needless(self, name: str) -> bool:
        """Tell whether no one needs a tensor: that of a part that sees or hears."""
        return name.removeprefix("model.").startswith(NOT_TEXT) or super().is_needless(name)

    def reuses(self, layer: int) -> bool:
        """Tell whether a layer uses the keys and values of an earlier one."""
        return layer >= self.hyperparameters.n_layer - self.n_shared

    def feed_forward_size(self, layer: int) -> int:
        """Return the rows of a layer's feed-forward; layers that reuse may have twice as many."""
        wide = self.config.flag("use_double_wide_mlp", False) and self.reuses(layer)
        return self.hyperparameters.n_ff * (2 if wide else 1)

    def metadata(self) -> Metadata:
        h, prefix, layers = self.hyperparameters, self.gguf_name, range(self.hyperparameters.n_layer)
        attention = f"{prefix}.attention"
        keys: Metadata = {
            **self.size_metadata(),
            **self.epsilon_metadata(),
            f"{prefix}.rope.freq_base": float32(self.rope.theta),
            f"{prefix}.rope.freq_base_swa": float32(self.local_rope.theta),
            f"{prefix}.rope.dimension_count": uint32(self.full_head_dim),
            f"{prefix}.rope.dimension_count_swa": uint32(self.head_dim),
            f"{attention}.key_length": uint32(self.full_head_dim),
            f"{attention}.value_length": uint32(self.full_head_dim),
            f"{attention}.key_length_swa": uint32(self.head_dim),
            f"{attention}.value_length_swa": uint32(self.head_dim),
            f"{attention}.sliding_window": uint32(self.size("sliding_window")),
            f"{attention}.sliding_window_pattern": array(ValueType.BOOL, self.slides),
            f"{attention}.shared_kv_layers": uint32(self.n_shared),
            f"{prefix}.embedding_length_per_layer_input": uint32(self.n_embd_per_layer),
        }
        if self.full_kv_heads != h.n_head_kv:
            heads = [h.n_head_kv if slides else self.full_kv_heads for slides in self.slides]
            keys[f"{attention}.head_count_kv"] = array(ValueType.INT32, heads)
        if self.config.flag("use_double_wide_mlp", False):
            sizes = [self.feed_forward_size(layer) for layer in layers]
            keys[f"{prefix}.feed_forward_length"] = array(ValueType.INT32, sizes)
        cap = self.config.optional_number("final_logit_softcapping") or 0.0  # without the key there is one
        keys[f"{prefix}.final_logit_softcapping"] = float32(cap)
        if h.n_expert:
            keys |= expert_count_metadata(prefix, h.n_expert, self.config.size("top_k_experts"))
            keys[f"{prefix}.expert_feed_forward_length"] = uint32(self.config.size("moe_intermediate_size"))
        return keys

    def tensor_rules(self) -> Sequence[TensorRule]:
        h, n = self.hyperparameters, self.n_embd_per_layer
        divisors = self.frequency_divisors
        rules = self.outer_rules()
        rules.append(TensorRule("rope_freqs.weight", (), (len(divisors),), Constant(divisors)))
        if n:
            embedding = (self.vocabulary_size, n * h.n_layer)
            rules += linear_rules("per_layer_token_embd", "model.embed_tokens_per_layer", embedding)
            projection = ("model.per_layer_model_projection", (n * h.n_layer, h.n_embd))
            rules += linear_rules("per_layer_model_proj", *projection)
            rules += norm_rules("per_layer_proj_norm", "model.per_layer_projection_norm", n)
        for layer in range(h.n_layer):
            source, target = f"model.layers.{layer}", f"blk.{layer}"
            for gguf, huggingface in NORMS.items():
                rules += norm_rules(f"{target}.{gguf}", f"{source}.{huggingface}", h.n_embd)
            rules += self._attention_rules(layer, f"{source}.self_attn", target)
            rules += self._feed_forward_rules(layer, f"{source}.mlp", target)
            if h.n_expert:
                rules += self._expert_rules(source, target)
            if n:
                rules += linear_rules(f"{target}.inp_gate", f"{source}.per_layer_input_gate", (n, h.n_embd))
                rules += linear_rules(f"{target}.proj", f"{source}.per_layer_projection", (h.n_embd, n))
                rules += norm_rules(f"{target}.post_norm", f"{source}.post_per_layer_input_norm", h.n_embd)
            scale = (f"{source}.layer_scalar",)
            rules.append(TensorRule(f"{target}.layer_output_scale.weight", scale, (1,), optional=True))
        return rules

    def _attention_rules(self, layer: int, source: str, target: str) -> list[TensorRule]:
        h, slides = self.hyperparameters, self.slides[layer]
        size = self.head_dim if slides else self.full_head_dim
        n_kv = (h.n_head_kv if slides else self.full_kv_heads) * size
        rules = [
            *linear_rules(f"{target}.attn_q", f"{source}.q_proj", (h.n_head * size, h.n_embd)),
            *norm_rules(f"{target}.attn_q_norm", f"{source}.q_norm", size),
            *linear_rules(f"{target}.attn_output", f"{source}.o_proj", (h.n_embd, h.n_head * size)),
        ]
        own = [
            *linear_rules(f"{target}.attn_k", f"{source}.k_proj", (n_kv, h.n_embd)),
            *norm_rules(f"{target}.attn_k_norm", f"{source}.k_norm", size),
        ]
        if slides or not self.config.flag("attention_k_eq_v", False):
            own += linear_rules(f"{target}.attn_v", f"{source}.v_proj", (n_kv, h.n_embd))
        unused = self.reuses(layer)
        return rules + [dataclasses.replace(rule, optional=unused) for rule in own]

    def _feed_forward_rules(self, layer: int, source: str, target: str) -> list[TensorRule]:
        n_embd, n_ff = self.hyperparameters.n_embd, self.feed_forward_size(layer)
        return [
            *linear_rules(f"{target}.ffn_gate", f"{source}.gate_proj", (n_ff, n_embd)),
            *linear_rules(f"{target}.ffn_up", f"{source}.up_proj", (n_ff, n_embd)),
            *linear_rules(f"{target}.ffn_down", f"{source}.down_proj", (n_embd, n_ff)),
        ]

    def _expert_rules(self, source: str, target: str) -> list[TensorRule]:
        h, n_ff, router = self.hyperparameters, self.config.size("moe_intermediate_size"), f"{source}.router"
        rules = [
            router_rule(f"{target}.ffn_gate_inp", f"{router}.proj", (h.n_expert, h.n_embd)),
            TensorRule(f"{target}.ffn_gate_inp.scale", (f"{router}.scale",), (h.n_embd,)),
            TensorRule(f"{target}.ffn_down_exps.scale", (f"{router}.per_expert_scale",), (h.n_expert,)),
        ]
        shapes = {"gate_up": (2 * n_ff, h.n_embd), "down": (h.n_embd, n_ff)}
        for part, shape in shapes.items():
            experts = (f"{source}.experts.{part}_proj",)
            rules.append(TensorRule(f"{target}.ffn_{part}_exps.weight", experts, (h.n_expert, *shape)))
        for gguf, huggingface in EXPERT_NORMS.items():
            rules += norm_rules(f"{target}.{gguf}", f"{source}.{huggingface}", h.n_embd)
        return rules

    def vocabulary_metadata(self, vocabulary: Vocabulary) -> Metadata:
        del vocabulary
        return {
            "tokenizer.ggml.add_space_prefix": boolean(False),
            "tokenizer.ggml.add_bos_token": boolean(True),
        }


class Gemma4Unified(Gemma4):
    """Gemma4UnifiedForConditionalGeneration's text part: no embeddings per layer, no experts."""

    huggingface_names: ClassVar[tuple[str, ...]] = ("Gemma4UnifiedForConditionalGeneration",)
    reads_back = False
    defaults: ClassVar[Mapping[str, int]] = {
        **Gemma4.defaults,
        "max_position_embeddings": 262144,
        "sliding_window": 1024,
    }
    embeds_per_layer = False

    def folder_metadata(self, directory: Path) -> Metadata:
        """Return also the tokens that no answer has, as generation_config.json lists them."""
        settings = optional_json_object(directory / "generation_config.json")
        tokens = (settings or {}).get("suppress_tokens")
        if not isinstance(tokens, list) or not all(type(token) is int for token in tokens):
            return super().folder_metadata(directory)
        listed = array(ValueType.INT32, [int(token) for token in tokens])
        return {**super().folder_metadata(directory), "tokenizer.ggml.suppress_tokens": listed}
