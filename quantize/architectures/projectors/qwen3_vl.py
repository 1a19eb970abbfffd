"""The projector of Qwen3-VL and Qwen3.5: learned positions, and features for deeper layers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from models.errors import CheckpointError
from quantize.architectures.base.config import ModelConfig
from quantize.architectures.base.projector import GELU
from quantize.architectures.base.rules import TensorRule, linear_rules, norm_rules
from quantize.architectures.projectors.qwen2_vl import SIDE, QwenProjector
from quantize.gguf.header import Metadata, ValueType, array, boolean, uint32


class Qwen3VLProjector(QwenProjector):
    """Qwen3VLForConditionalGeneration and its mixture of experts."""

    huggingface_names: ClassVar[tuple[str, ...]] = (
        "Qwen3VLForConditionalGeneration",
        "Qwen3VLMoeForConditionalGeneration",
    )
    kind = "qwen3vl_merger"
    has_patch_bias = True
    usual: ClassVar[Mapping[str, Any]] = {
        "depth": 27,
        "hidden_size": 1152,
        "intermediate_size": 4304,
        "num_heads": 16,
        "patch_size": 16,
        "num_position_embeddings": 2304,
        "deepstack_visual_indexes": [8, 16, 24],
    }

    @property
    def image_size(self) -> int:
        if self.config.has("image_size"):
            return self.config.size("image_size")
        return int(self.n_positions**0.5 * self.patch_size)

    @property
    def n_positions(self) -> int:
        return self.config.size("num_position_embeddings")

    @property
    def epsilon(self) -> float:
        return (self.model.section("text_config") or ModelConfig({})).number("rms_norm_eps", 1e-6)

    @property
    def deep_layers(self) -> tuple[int, ...]:
        """The layers whose features go into the text model's layers, in the order of their mergers."""
        listed = self.config.numbers("deepstack_visual_indexes") or ()
        layers = tuple(map(int, listed))
        if any(not 0 <= layer < self.n_layer for layer in layers) or len(set(layers)) != len(layers):
            raise CheckpointError(
                f"deepstack_visual_indexes in vision_config is {list(layers)}; each must be another one of"
                f" the {self.n_layer} layers"
            )
        return layers

    def metadata(self) -> Metadata:
        self.check_one_of("hidden_act", GELU, GELU[0])
        is_deep = [layer in self.deep_layers for layer in range(self.n_layer)]
        return super().metadata() | {
            "clip.use_gelu": boolean(True),
            "clip.vision.spatial_merge_size": uint32(SIDE),
            "clip.vision.is_deepstack_layers": array(ValueType.BOOL, is_deep),
        }

    def tensor_rules(self) -> Sequence[TensorRule]:
        positions = TensorRule(
            "v.position_embd.weight", ("visual.pos_embed.weight",), (self.n_positions, self.n_embd), f32=True
        )
        return [*super().tensor_rules(), positions]

    def layer_rules(self, target: str, source: str) -> list[TensorRule]:
        n, n_ff = self.n_embd, self.n_ff
        return [
            *norm_rules(f"{target}.ln1", f"{source}.norm1", n, bias=True),
            *norm_rules(f"{target}.ln2", f"{source}.norm2", n, bias=True),
            *linear_rules(f"{target}.attn_qkv", f"{source}.attn.qkv", (3 * n, n), bias=True),
            *linear_rules(f"{target}.attn_out", f"{source}.attn.proj", (n, n), bias=True),
            *linear_rules(f"{target}.ffn_up", f"{source}.mlp.linear_fc1", (n_ff, n), bias=True),
            *linear_rules(f"{target}.ffn_down", f"{source}.mlp.linear_fc2", (n, n_ff), bias=True),
        ]

    def merger_rules(self) -> list[TensorRule]:
        n, n_joined, n_text = self.n_embd, self.n_embd * SIDE**2, self.n_embd_text
        rules = [
            *norm_rules("v.post_ln", "visual.merger.norm", n, bias=True),
            *linear_rules("mm.0", "visual.merger.linear_fc1", (n_joined, n_joined), bias=True),
            *linear_rules("mm.2", "visual.merger.linear_fc2", (n_text, n_joined), bias=True),
        ]
        for number, layer in enumerate(self.deep_layers):
            target, source = f"v.deepstack.{layer}", f"visual.deepstack_merger_list.{number}"
            rules += norm_rules(f"{target}.norm", f"{source}.norm", n_joined, bias=True)
            rules += linear_rules(f"{target}.fc1", f"{source}.linear_fc1", (n_joined, n_joined), bias=True)
            rules += linear_rules(f"{target}.fc2", f"{source}.linear_fc2", (n_text, n_joined), bias=True)
        return rules


class Qwen35Projector(Qwen3VLProjector):
    """Qwen3_5ForConditionalGeneration and its mixture of experts: nothing goes into deeper layers."""

    huggingface_names: ClassVar[tuple[str, ...]] = (
        "Qwen3_5ForConditionalGeneration",
        "Qwen3_5MoeForConditionalGeneration",
    )
    usual: ClassVar[Mapping[str, Any]] = {**Qwen3VLProjector.usual, "deepstack_visual_indexes": []}
