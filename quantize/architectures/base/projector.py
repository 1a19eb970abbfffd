"""The contract of a projector, with which a model sees: metadata and rules for tensors, as data."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Final

from models.errors import CheckpointError
from models.gguf.projector import PROJECTOR_ARCHITECTURE
from quantize.architectures.base.architecture import Architecture
from quantize.architectures.base.config import ModelConfig
from quantize.architectures.base.rules import TensorRule, linear_rules, norm_rules
from quantize.gguf.header import Metadata, Value, ValueType, array, boolean, float32, string, uint32

N_CHANNELS: Final = 3
"""A picture has so many numbers for each of its points."""

GELU: Final = ("gelu_pytorch_tanh", "gelu")
"""The activations that llama.cpp's GELU stands for."""


@dataclass(frozen=True)
class PictureFiles:
    """The facts about pictures in files beside config.json."""

    preprocessor: ModelConfig
    """The fields of preprocessor_config.json, and over them those of processor_config.json."""
    token_ids: Mapping[str, int] = field(default_factory=dict)
    """The ids of the added tokens, by their texts."""


class Projector(Architecture):
    """A projector, for one checkpoint's configuration. Subclasses are found in `projectors/`.

    `self.config` is the section of what sees; `self.model` all of config.json.
    """

    gguf_name = PROJECTOR_ARCHITECTURE
    kind: ClassVar[str]
    """llama.cpp's name of the projector: `clip.projector_type`."""
    kind_key: ClassVar[str] = "clip.projector_type"
    own_prefixes: ClassVar[tuple[str, ...]]
    """The beginnings, without `model.`, of the tensors that are the projector's; the first are what sees."""
    usual: ClassVar[Mapping[str, Any]] = {}
    """The fields of the section that transformers' class assumes where config.json is silent."""
    default_epsilon: ClassVar[float] = 1e-6
    always_f16: ClassVar[frozenset[str]] = frozenset()
    """The matrices that llama.cpp can't compute with in any other type, and that are never quantized."""

    def __init__(self, model: ModelConfig, files: PictureFiles, text: Architecture) -> None:
        """Read the configuration of a projector for the model `text`.

        Raises CheckpointError: something that llama.cpp's projector can't compute.
        """
        section = model.section("vision_config")
        if section is None:
            raise CheckpointError(
                "config.json has no vision_config; complete it, or take the text model alone"
            )
        super().__init__(section.over(self.usual))
        self.model = model
        self.files = files
        self.text = text
        if self.n_embd % self.n_head:
            raise CheckpointError(
                f"vision_config in config.json has a width of {self.n_embd} for {self.n_head} heads;"
                " it must be a multiple"
            )

    # --- sizes

    @property
    def n_embd_text(self) -> int:
        """The width of the text model, to which patches are brought."""
        return self.text.hyperparameters.n_embd

    @property
    def n_embd(self) -> int:
        """The numbers of a patch between the layers."""
        return self.config.size("hidden_size")

    @property
    def n_ff(self) -> int:
        """The numbers of a patch inside a feed-forward layer."""
        return self.config.size("intermediate_size")

    @property
    def n_layer(self) -> int:
        """The number of layers."""
        return self.config.size("num_hidden_layers")

    @property
    def n_head(self) -> int:
        """The number of attention heads."""
        return self.config.size("num_attention_heads")

    @property
    def image_size(self) -> int:
        """The side of the square picture that the projector was trained for, in points."""
        return self.config.size("image_size")

    @property
    def patch_size(self) -> int:
        """The side of a patch, in points."""
        return self.config.size("patch_size")

    @property
    def epsilon(self) -> float:
        """The constant under the root of the layers' norms."""
        return self.config.number("layer_norm_eps", self.default_epsilon)

    @property
    def n_positions(self) -> int:
        """The number of patches that a square picture has."""
        return (self.image_size // self.patch_size) ** 2

    # --- metadata

    def metadata(self) -> Metadata:
        return {
            "clip.has_vision_encoder": boolean(True),
            self.kind_key: string(self.kind),
            "clip.vision.projection_dim": uint32(self.n_embd_text),
            "clip.vision.image_size": uint32(self.image_size),
            "clip.vision.patch_size": uint32(self.patch_size),
            "clip.vision.embedding_length": uint32(self.n_embd),
            "clip.vision.feed_forward_length": uint32(self.n_ff),
            "clip.vision.block_count": uint32(self.n_layer),
            "clip.vision.attention.head_count": uint32(self.n_head),
            "clip.vision.attention.layer_norm_epsilon": float32(self.epsilon),
            "clip.vision.image_mean": self._colours("image_mean"),
            "clip.vision.image_std": self._colours("image_std"),
        }

    def _colours(self, name: str) -> Value:
        numbers = self.files.preprocessor.numbers(name)
        if numbers is None or len(numbers) != N_CHANNELS:
            raise CheckpointError(
                f"the checkpoint has no {name} of {N_CHANNELS} numbers, to which pictures are brought;"
                " download it again, with preprocessor_config.json and processor_config.json"
            )
        return array(ValueType.FLOAT32, numbers)

    def check_one_of(self, name: str, known: Sequence[Any], usual: Any) -> Any:
        """Return a field of the section. Raises CheckpointError for a value that isn't among the `known`."""
        value = self.config.raw(name) if self.config.has(name) else usual
        if value not in known:
            raise CheckpointError(
                f"vision_config in config.json has {name} {value!r}; llama.cpp's projector {self.kind}"
                f" computes {' or '.join(map(str, known))}"
            )
        return value

    # --- tensors

    def is_needless(self, name: str) -> bool:
        """Tell whether a tensor is the text model's, or a buffer."""
        is_own = name.removeprefix("model.").startswith(self.own_prefixes)
        return not is_own or f".{name}".endswith(self.ignored_suffixes)

    @classmethod
    def sees(cls, name: str) -> bool:
        """Tell whether a checkpoint's tensor belongs to what sees: one such, and there is a projector."""
        return name.removeprefix("model.").startswith(cls.own_prefixes[0])

    @property
    def patch_shape(self) -> tuple[int, int, int, int]:
        """The shape of the convolution that makes patches of a picture."""
        return self.n_embd, N_CHANNELS, self.patch_size, self.patch_size


def siglip_rules(projector: Projector, source: str) -> Sequence[TensorRule]:
    """Return the rules of a SigLIP tower, as Gemma 3 and SmolVLM have it: patches, positions and layers."""
    n = projector.n_embd
    rules = [
        TensorRule(
            "v.patch_embd.weight",
            (f"{source}embeddings.patch_embedding.weight",),
            projector.patch_shape,
            f32=True,
        ),
        TensorRule("v.patch_embd.bias", (f"{source}embeddings.patch_embedding.bias",), (n,)),
        TensorRule(
            "v.position_embd.weight",
            (f"{source}embeddings.position_embedding.weight",),
            (projector.n_positions, n),
            f32=True,
        ),
        *norm_rules("v.post_ln", f"{source}post_layernorm", n, bias=True),
    ]
    for layer in range(projector.n_layer):
        target, below = f"v.blk.{layer}", f"{source}encoder.layers.{layer}"
        rules += norm_rules(f"{target}.ln1", f"{below}.layer_norm1", n, bias=True)
        rules += norm_rules(f"{target}.ln2", f"{below}.layer_norm2", n, bias=True)
        for part, name in (("q", "q_proj"), ("k", "k_proj"), ("v", "v_proj"), ("out", "out_proj")):
            rules += linear_rules(f"{target}.attn_{part}", f"{below}.self_attn.{name}", (n, n), bias=True)
        rules += linear_rules(f"{target}.ffn_up", f"{below}.mlp.fc1", (projector.n_ff, n), bias=True)
        rules += linear_rules(f"{target}.ffn_down", f"{below}.mlp.fc2", (n, projector.n_ff), bias=True)
    return rules
