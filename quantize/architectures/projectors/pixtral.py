"""Pixtral's projector, of LLaVA's form and Mistral 3's: rotary positions, rows that end with a token."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Final

from models.errors import CheckpointError
from quantize.architectures.base.architecture import Architecture
from quantize.architectures.base.config import ModelConfig
from quantize.architectures.base.picture_transforms import OneRow
from quantize.architectures.base.projector import GELU, PictureFiles, Projector
from quantize.architectures.base.rules import TensorRule, linear_rules, norm_rules
from quantize.architectures.base.transform import RotaryHeads
from quantize.gguf.header import Metadata, boolean, uint32

END_OF_ROW: Final = "[IMG_BREAK]"
"""The token after each row of patches, whose embedding the projector has."""
EMBEDDING: Final = "embed_tokens.weight"
"""The text model's embedding."""
THETA: Final = 10000.0
"""llama.cpp's projector rotates by this base."""


class PixtralProjector(Projector):
    """LlavaForConditionalGeneration with a Pixtral tower, as Pixtral has it."""

    huggingface_names: ClassVar[tuple[str, ...]] = ("LlavaForConditionalGeneration",)
    kind = "pixtral"
    own_prefixes: ClassVar[tuple[str, ...]] = ("vision_tower.", "multi_modal_projector.", EMBEDDING)
    usual: ClassVar[Mapping[str, Any]] = {
        "hidden_size": 1024,
        "intermediate_size": 4096,
        "num_hidden_layers": 24,
        "num_attention_heads": 16,
        "image_size": 1024,
        "patch_size": 16,
        "hidden_act": "gelu",
    }
    default_epsilon = 1e-5
    merges: ClassVar[bool] = False
    projector_bias: ClassVar[bool] = True

    def __init__(self, model: ModelConfig, files: PictureFiles, text: Architecture) -> None:
        super().__init__(model, files, text)
        tower = self.config.text("model_type", "pixtral")
        if tower != "pixtral":
            raise CheckpointError(
                f"vision_config in config.json has model_type {tower!r}; of LLaVA's models projectors are"
                " made for pixtral alone: llama.cpp puts CLIP's class embedding behind the patches"
            )
        if END_OF_ROW not in self.files.token_ids:
            raise CheckpointError(
                f"the tokenizer has no added token {END_OF_ROW}, which ends a picture's rows; complete"
                " tokenizer.json or tokenizer_config.json"
            )

    def metadata(self) -> Metadata:
        activation = self.check_one_of("hidden_act", ("silu", *GELU), "gelu")
        key = "clip.use_silu" if activation == "silu" else "clip.use_gelu"
        keys: Metadata = {key: boolean(True)}
        side = self.model.optional_size("spatial_merge_size")
        if side is not None:
            keys["clip.vision.spatial_merge_size"] = uint32(side)
        return super().metadata() | keys

    def usual_name(self, name: str) -> str:
        name = super().usual_name(name)
        return EMBEDDING if name.endswith(f".{EMBEDDING}") else name

    def tensor_rules(self) -> Sequence[TensorRule]:
        n, n_ff = self.n_embd, self.n_ff
        rules = [
            TensorRule("v.patch_embd.weight", ("vision_tower.patch_conv.weight",), self.patch_shape),
            *norm_rules("v.pre_ln", "vision_tower.ln_pre", n),
        ]
        heads = RotaryHeads(n // self.n_head)
        for layer in range(self.n_layer):
            target, source = f"v.blk.{layer}", f"vision_tower.transformer.layers.{layer}"
            rules += norm_rules(f"{target}.ln1", f"{source}.attention_norm", n)
            rules += norm_rules(f"{target}.ln2", f"{source}.ffn_norm", n)
            rules += linear_rules(f"{target}.attn_q", f"{source}.attention.q_proj", (n, n), heads)
            rules += linear_rules(f"{target}.attn_k", f"{source}.attention.k_proj", (n, n), heads)
            rules += linear_rules(f"{target}.attn_v", f"{source}.attention.v_proj", (n, n))
            rules += linear_rules(f"{target}.attn_out", f"{source}.attention.o_proj", (n, n))
            rules += linear_rules(f"{target}.ffn_gate", f"{source}.feed_forward.gate_proj", (n_ff, n))
            rules += linear_rules(f"{target}.ffn_up", f"{source}.feed_forward.up_proj", (n_ff, n))
            rules += linear_rules(f"{target}.ffn_down", f"{source}.feed_forward.down_proj", (n, n_ff))
        return rules + self.connector_rules()

    def connector_rules(self) -> list[TensorRule]:
        """Return the rules of what brings patches to the text's width, and of the end of a row."""
        n_text, source = self.n_embd_text, "multi_modal_projector"
        bias = self.model.flag("multimodal_projector_bias", self.projector_bias)
        row = OneRow(self.files.token_ids[END_OF_ROW], self.text.vocabulary_size)
        return [
            *linear_rules("mm.1", f"{source}.linear_1", (n_text, self.n_embd), bias=bias),
            *linear_rules("mm.2", f"{source}.linear_2", (n_text, n_text), bias=bias),
            TensorRule("v.token_embd.img_break", (EMBEDDING,), (n_text,), row),
        ]


class Mistral3Projector(PixtralProjector):
    """Mistral3ForConditionalGeneration: squares of patches are merged to one."""

    huggingface_names: ClassVar[tuple[str, ...]] = ("Mistral3ForConditionalGeneration",)
    projector_bias = False

    def metadata(self) -> Metadata:
        side = self.model.size("spatial_merge_size", 2)
        return super().metadata() | {"clip.vision.spatial_merge_size": uint32(side)}

    def connector_rules(self) -> list[TensorRule]:
        n, side, source = self.n_embd, self.model.size("spatial_merge_size", 2), "multi_modal_projector"
        return [
            *super().connector_rules(),
            *norm_rules("mm.input_norm", f"{source}.norm", n),
            *linear_rules("mm.patch_merger", f"{source}.patch_merger.merging_layer", (n, n * side**2)),
        ]
