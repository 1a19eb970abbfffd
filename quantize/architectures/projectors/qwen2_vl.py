"""The projectors of Qwen2-VL and Qwen2.5-VL: layers with rotary positions, four patches to a token."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any, ClassVar, Final

from models.errors import CheckpointError
from quantize.architectures.base.picture_transforms import Frame
from quantize.architectures.base.projector import N_CHANNELS, Projector
from quantize.architectures.base.rules import TensorRule, linear_rules, norm_rules
from quantize.architectures.base.transform import Slice
from quantize.gguf.header import Metadata, boolean, uint32

SIDE: Final = 2
"""llama.cpp joins squares of so many patches a side to a token, and pairs of so many pictures of a film."""
WINDOW: Final = 112
"""llama.cpp's windows of Qwen2.5-VL have this side, in points."""


class QwenProjector(Projector):
    """The part that all of Qwen's projectors share."""

    own_prefixes: ClassVar[tuple[str, ...]] = ("visual.",)
    renames: ClassVar[tuple[tuple[str, str], ...]] = (("model.visual.", "visual."),)
    has_patch_bias: ClassVar[bool] = False

    @property
    def n_layer(self) -> int:
        return self.config.size("depth")

    @property
    def n_head(self) -> int:
        return self.config.size("num_heads")

    @property
    def epsilon(self) -> float:
        return self.model.number("rms_norm_eps", 1e-6)

    def metadata(self) -> Metadata:
        self.check_one_of("spatial_merge_size", (SIDE,), SIDE)
        self.check_one_of("temporal_patch_size", (SIDE,), SIDE)
        return super().metadata()

    def tensor_rules(self) -> Sequence[TensorRule]:
        rules = self.frame_rules()
        for layer in range(self.n_layer):
            rules += self.layer_rules(f"v.blk.{layer}", f"visual.blocks.{layer}")
        return rules + self.merger_rules()

    def frame_rules(self) -> list[TensorRule]:
        """Return the rules of the convolution, which llama.cpp has as one for each picture of a pair."""
        shape = self.patch_shape
        source = ("visual.patch_embed.proj.weight",)
        rules = [
            TensorRule(f"v.patch_embd.weight{end}", source, shape, Frame(number, N_CHANNELS, self.patch_size))
            for number, end in enumerate(("", ".1"))
        ]
        if self.has_patch_bias:
            rules.append(TensorRule("v.patch_embd.bias", ("visual.patch_embed.proj.bias",), (self.n_embd,)))
        return rules

    @abstractmethod
    def layer_rules(self, target: str, source: str) -> list[TensorRule]:
        """Return the rules of a layer."""

    @abstractmethod
    def merger_rules(self) -> list[TensorRule]:
        """Return the rules of what joins patches to tokens."""


class Qwen2VLProjector(QwenProjector):
    """Qwen2VLForConditionalGeneration and Qwen2VLModel."""

    huggingface_names: ClassVar[tuple[str, ...]] = ("Qwen2VLForConditionalGeneration", "Qwen2VLModel")
    kind = "qwen2vl_merger"
    usual: ClassVar[Mapping[str, Any]] = {
        "depth": 32,
        "embed_dim": 1280,
        "hidden_size": 3584,
        "mlp_ratio": 4,
        "num_heads": 16,
        "patch_size": 14,
        "image_size": 560,
    }
    norms_shift: ClassVar[bool] = True

    @property
    def n_embd(self) -> int:
        return self.config.size("embed_dim")

    @property
    def n_ff(self) -> int:
        """The number that the converter writes, which is the text's width; llama.cpp reads the tensors."""
        return self.config.size("hidden_size")

    def metadata(self) -> Metadata:
        self.check_one_of("hidden_act", ("quick_gelu",), "quick_gelu")
        return super().metadata()

    def layer_rules(self, target: str, source: str) -> list[TensorRule]:
        n, shifts = self.n_embd, self.norms_shift
        rules = norm_rules(f"{target}.ln1", f"{source}.norm1", n, bias=shifts)
        rules += norm_rules(f"{target}.ln2", f"{source}.norm2", n, bias=shifts)
        for number, part in enumerate("qkv"):
            own = Slice(number * n, n, of=3 * n)
            rules += linear_rules(f"{target}.attn_{part}", f"{source}.attn.qkv", (n, n), own, bias=True)
        rules += linear_rules(f"{target}.attn_out", f"{source}.attn.proj", (n, n), bias=True)
        return rules + self.feed_forward_rules(target, f"{source}.mlp")

    def feed_forward_rules(self, target: str, source: str) -> list[TensorRule]:
        """Return the rules of a layer's feed-forward part."""
        n, n_ff = self.n_embd, self.n_embd * self.config.size("mlp_ratio")
        return [
            *linear_rules(f"{target}.ffn_up", f"{source}.fc1", (n_ff, n), bias=True),
            *linear_rules(f"{target}.ffn_down", f"{source}.fc2", (n, n_ff), bias=True),
        ]

    def merger_rules(self) -> list[TensorRule]:
        n, n_joined, n_text = self.n_embd, self.n_embd * SIDE**2, self.n_embd_text
        return [
            *norm_rules("v.post_ln", "visual.merger.ln_q", n, bias=self.norms_shift),
            *linear_rules("mm.0", "visual.merger.mlp.0", (n_joined, n_joined), bias=True),
            *linear_rules("mm.2", "visual.merger.mlp.2", (n_text, n_joined), bias=True),
        ]


class Qwen25VLProjector(Qwen2VLProjector):
    """Qwen2_5_VLForConditionalGeneration: most layers attend within windows."""

    huggingface_names: ClassVar[tuple[str, ...]] = ("Qwen2_5_VLForConditionalGeneration",)
    kind = "qwen2.5vl_merger"
    usual: ClassVar[Mapping[str, Any]] = {
        "depth": 32,
        "hidden_size": 3584,
        "intermediate_size": 3420,
        "num_heads": 16,
        "patch_size": 14,
        "image_size": 560,
        "fullatt_block_indexes": [7, 15, 23, 31],
    }
    norms_shift = False

    @property
    def n_embd(self) -> int:
        return self.config.size("hidden_size")

    @property
    def n_ff(self) -> int:
        return self.config.size("intermediate_size")

    def metadata(self) -> Metadata:
        self.check_one_of("window_size", (WINDOW,), WINDOW)
        self.check_one_of("hidden_act", ("silu",), "silu")
        keys = QwenProjector.metadata(self)
        return keys | {"clip.use_silu": boolean(True), "clip.vision.n_wa_pattern": uint32(self._period())}

    def _period(self) -> int:
        """Return the number of layers from one that attends everywhere to the next."""
        listed = self.config.numbers("fullatt_block_indexes") or ()
        period = int(listed[0]) + 1 if listed else 0
        if period < 1 or any(after - before != period for before, after in pairwise(listed)):
            raise CheckpointError(
                f"fullatt_block_indexes in vision_config is {list(map(int, listed))}; llama.cpp's projector"
                " computes layers that attend everywhere at equal distances"
            )
        return period

    def feed_forward_rules(self, target: str, source: str) -> list[TensorRule]:
        n, n_ff = self.n_embd, self.n_ff
        return [
            *linear_rules(f"{target}.ffn_gate", f"{source}.gate_proj", (n_ff, n), bias=True),
            *linear_rules(f"{target}.ffn_up", f"{source}.up_proj", (n_ff, n), bias=True),
            *linear_rules(f"{target}.ffn_down", f"{source}.down_proj", (n, n_ff), bias=True),
        ]
