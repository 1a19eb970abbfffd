"""Gemma 4's projector: layers like the text model's, positions of two axes; sound is left out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Final

from quantize.architectures.base.picture_transforms import ChannelsFirst
from quantize.architectures.base.projector import GELU, N_CHANNELS, Projector
from quantize.architectures.base.rules import TensorRule, norm_rules
from quantize.architectures.base.transform import Reshaped
from quantize.gguf.header import Metadata, boolean

AXES: Final = 2
"""A patch has a position in each of them."""
POOL_SIDE: Final = 3
"""llama.cpp averages squares of so many patches a side."""
BOUNDS: Final = ("input_min", "input_max", "output_min", "output_max")
"""The numbers beside a matrix between which its input and its output are kept."""
NORMS: Final[Mapping[str, str]] = {
    "ln1": "input_layernorm",
    "attn_post_norm": "post_attention_layernorm",
    "ln2": "pre_feedforward_layernorm",
    "ffn_post_norm": "post_feedforward_layernorm",
}


class Gemma4Projector(Projector):
    """Gemma4ForConditionalGeneration."""

    huggingface_names: ClassVar[tuple[str, ...]] = ("Gemma4ForConditionalGeneration",)
    kind = "gemma4v"
    kind_key = "clip.vision.projector_type"
    own_prefixes: ClassVar[tuple[str, ...]] = ("vision_tower.", "embed_vision.")
    usual: ClassVar[Mapping[str, Any]] = {
        "hidden_size": 768,
        "intermediate_size": 3072,
        "num_hidden_layers": 16,
        "num_attention_heads": 12,
        "num_key_value_heads": 12,
        "head_dim": 64,
        "patch_size": 16,
        "position_embedding_size": 10240,
    }

    @property
    def image_size(self) -> int:
        """The number that the converter writes; pictures have any size."""
        return 224

    def metadata(self) -> Metadata:
        self.check_one_of("pooling_kernel_size", (POOL_SIDE,), POOL_SIDE)
        self.check_one_of("num_key_value_heads", (self.n_head,), self.n_head)
        self.check_one_of("head_dim", (self.n_embd // self.n_head,), 64)
        self.check_one_of("hidden_activation", GELU, GELU[0])
        return super().metadata() | {"clip.use_gelu": boolean(True)}

    def tensor_rules(self) -> Sequence[TensorRule]:
        n, size = self.n_embd, self.config.size("position_embedding_size")
        rules = [
            TensorRule(
                "v.patch_embd.weight",
                ("model.vision_tower.patch_embedder.input_proj.weight",),
                self.patch_shape,
                ChannelsFirst(N_CHANNELS, self.patch_size),
            ),
            TensorRule(
                "v.position_embd.weight",
                ("model.vision_tower.patch_embedder.position_embedding_table",),
                (AXES, size, n),
                f32=True,
            ),
            TensorRule(
                "mm.input_projection.weight",
                ("model.embed_vision.embedding_projection.weight",),
                (self.n_embd_text, n),
            ),
        ]
        if self.config.flag("standardize", False):
            rules += [
                TensorRule(f"v.{name}", (f"model.vision_tower.{name}",), (n,))
                for name in ("std_bias", "std_scale")
            ]
        for layer in range(self.n_layer):
            rules += self._layer_rules(f"v.blk.{layer}", f"model.vision_tower.encoder.layers.{layer}")
        return rules

    def _layer_rules(self, target: str, source: str) -> list[TensorRule]:
        n, n_ff, d_head = self.n_embd, self.n_ff, self.n_embd // self.n_head
        rules: list[TensorRule] = []
        for ours, theirs in NORMS.items():
            rules += norm_rules(f"{target}.{ours}", f"{source}.{theirs}", n)
        for part in "qk":
            rules += norm_rules(f"{target}.attn_{part}_norm", f"{source}.self_attn.{part}_norm", d_head)
        for ours, theirs in (("q", "q_proj"), ("k", "k_proj"), ("v", "v_proj"), ("out", "o_proj")):
            rules += self._clipped_rules(f"{target}.attn_{ours}", f"{source}.self_attn.{theirs}", (n, n))
        for ours, theirs, shape in (
            ("gate", "gate_proj", (n_ff, n)),
            ("up", "up_proj", (n_ff, n)),
            ("down", "down_proj", (n, n_ff)),
        ):
            rules += self._clipped_rules(f"{target}.ffn_{ours}", f"{source}.mlp.{theirs}", shape)
        return rules

    def _clipped_rules(self, target: str, source: str, shape: tuple[int, int]) -> list[TensorRule]:
        """Return the rules of a matrix, and of the bounds of its numbers, if it has some."""
        rules = [TensorRule(f"{target}.weight", (f"{source}.linear.weight",), shape)]
        if self.config.flag("use_clipped_linears", False):
            rules += [
                TensorRule(f"{target}.{bound}", (f"{source}.{bound}",), (1,), Reshaped((), 1))
                for bound in BOUNDS
            ]
        return rules
