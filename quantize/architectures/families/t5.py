"""T5 and its kin (Flan-T5, FastChat-T5, mT5, UMT5), encoder and decoder, or the encoder alone.

The embedding is saved under up to three names; the first in the files counts, as in llama.cpp's converter.
Where it is the output matrix too, T5 divides what comes before by the root of its size. llama.cpp doesn't, so
here the last norm's weights are divided.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar

from models.errors import CheckpointError
from models.llamacpp.quantization.type_rules import ModelDescription
from quantize.architectures.base.architecture import Architecture
from quantize.architectures.base.config import ModelConfig
from quantize.architectures.base.rules import TensorRule, linear_rules, norm_rules
from quantize.architectures.base.transform import Scale
from quantize.gguf.header import Metadata, float32, uint32

EMBEDDINGS = ("shared.weight", "encoder.embed_tokens.weight", "decoder.embed_tokens.weight")
MAX_DISTANCE = 128
"""The distance in tokens from which on all have one bias, fixed in llama.cpp."""

ACTIVATIONS = ("relu", "gated-gelu", "gated-gelu_new")


class T5Encoder(Architecture):
    """T5EncoderModel."""

    gguf_name = "t5encoder"
    huggingface_names: ClassVar[tuple[str, ...]] = ("T5EncoderModel",)
    defaults: ClassVar[Mapping[str, int]] = {
        "vocab_size": 32128,
        "d_model": 512,
        "d_kv": 64,
        "d_ff": 2048,
        "num_layers": 6,
        "num_heads": 8,
        "n_positions": 512,
        "relative_attention_num_buckets": 32,
    }
    base_prefix: ClassVar[str] = "transformer."
    aliases: ClassVar[Mapping[str, str]] = {
        "hidden_size": "d_model",
        "num_attention_heads": "num_heads",
        "num_hidden_layers": "num_layers",
        "head_dim": "d_kv",
    }
    biased_layers: ClassVar[int | None] = 1
    """The number of layers that have position biases of their own; None stands for all."""

    default_activation: ClassVar[str] = "relu"

    def __init__(self, config: ModelConfig) -> None:
        super().__init__(config)
        n_head, head = self.size("num_heads"), self.size("d_kv")
        self.hyperparameters = ModelDescription(
            architecture=self.gguf_name,
            n_embd=self.size("d_model"),
            n_ff=self.size("d_ff"),
            n_layer=self.size("num_layers"),
            n_head=n_head,
            n_head_kv=n_head,
            n_embd_head_k=head,
            n_embd_head_v=head,
        )
        distance = config.size("relative_attention_max_distance", MAX_DISTANCE)
        if distance != MAX_DISTANCE:
            raise CheckpointError(
                f"config.json has relative_attention_max_distance {distance}; llama.cpp's `{self.gguf_name}` "
                f"has {MAX_DISTANCE}"
            )
        self.activation = config.text("feed_forward_proj", self.default_activation)
        if self.activation not in ACTIVATIONS:
            raise CheckpointError(
                f"config.json has feed_forward_proj {self.activation!r}; llama.cpp's `{self.gguf_name}` "
                f"computes {' and '.join(ACTIVATIONS[:2])} only"
            )

    @property
    def context_length(self) -> int:
        return self.size("n_positions")

    def metadata(self) -> Metadata:
        h, prefix = self.hyperparameters, self.gguf_name
        epsilon = float32(self.config.number("layer_norm_epsilon", 1e-6))
        buckets = uint32(self.size("relative_attention_num_buckets"))
        return {
            **self.common_metadata(),
            f"{prefix}.attention.key_length": uint32(h.n_embd_head_k),
            f"{prefix}.attention.value_length": uint32(h.n_embd_head_v),
            f"{prefix}.attention.layer_norm_epsilon": epsilon,
            f"{prefix}.attention.layer_norm_rms_epsilon": epsilon,
            f"{prefix}.attention.relative_buckets_count": buckets,
        }

    @property
    def tied_names(self) -> tuple[str, ...]:
        return EMBEDDINGS[0], "lm_head.weight"

    def usual_name(self, name: str) -> str:
        """Return the rules' name for a tensor, for the embedding under each of its names."""
        usual = super().usual_name(name)
        return EMBEDDINGS[0] if usual.removeprefix(self.base_prefix) in EMBEDDINGS else usual

    def tensor_rules(self) -> Sequence[TensorRule]:
        h, embedding = self.hyperparameters, (self.vocabulary_size, self.hyperparameters.n_embd)
        rules = [
            TensorRule("token_embd.weight", EMBEDDINGS[:1], embedding),
            TensorRule("output.weight", ("lm_head.weight",), embedding, optional=True),
            *norm_rules("enc.output_norm", "encoder.final_layer_norm", h.n_embd),
        ]
        for layer in range(h.n_layer):
            source, target = f"encoder.block.{layer}.layer", f"enc.blk.{layer}"
            rules += self.attention_rules(f"{source}.0.SelfAttention", f"{target}.attn")
            rules += norm_rules(f"{target}.attn_norm", f"{source}.0.layer_norm", h.n_embd)
            rules += self.bias_rules(f"{source}.0.SelfAttention", f"{target}.attn_rel_b", layer)
            rules += self.feed_forward_rules(f"{source}.1", target)
        return rules

    def attention_rules(self, source: str, target: str) -> list[TensorRule]:
        """Return the rules of q, k, v and the output of one attention."""
        h = self.hyperparameters
        n = h.n_head * h.n_embd_head_k
        return [
            *linear_rules(f"{target}_q", f"{source}.q", (n, h.n_embd)),
            *linear_rules(f"{target}_k", f"{source}.k", (n, h.n_embd)),
            *linear_rules(f"{target}_v", f"{source}.v", (n, h.n_embd)),
            *linear_rules(f"{target}_o", f"{source}.o", (h.n_embd, n)),
        ]

    def bias_rules(self, source: str, target: str, layer: int, *, optional: bool = False) -> list[TensorRule]:
        """Return the rule of a layer's position bias, if it has one."""
        if self.biased_layers is not None and layer >= self.biased_layers:
            return []
        shape = (self.size("relative_attention_num_buckets"), self.hyperparameters.n_head)
        names = (f"{source}.relative_attention_bias.weight",)
        return [TensorRule(f"{target}.weight", names, shape, optional=optional)]

    def feed_forward_rules(self, source: str, target: str) -> list[TensorRule]:
        h, dense = self.hyperparameters, f"{source}.DenseReluDense"
        is_gated = self.activation.startswith("gated")
        rules = linear_rules(f"{target}.ffn_gate", f"{dense}.wi_0", (h.n_ff, h.n_embd)) if is_gated else []
        up = f"{dense}.wi_1" if is_gated else f"{dense}.wi"
        return [
            *rules,
            *linear_rules(f"{target}.ffn_up", up, (h.n_ff, h.n_embd)),
            *linear_rules(f"{target}.ffn_down", f"{dense}.wo", (h.n_embd, h.n_ff)),
            *norm_rules(f"{target}.ffn_norm", f"{source}.layer_norm", h.n_embd),
        ]


class T5(T5Encoder):
    """T5ForConditionalGeneration."""

    gguf_name = "t5"
    huggingface_names: ClassVar[tuple[str, ...]] = ("T5ForConditionalGeneration", "T5WithLMHeadModel")

    @property
    def scales_output(self) -> bool:
        """True if what comes before the output matrix is divided, as it was trained with the embedding.

        transformers 5 ties the matrices of every T5, and saves this one thing apart.
        """
        said = self.config.first(["scale_decoder_outputs"])
        return _was_tied(self.config) if said is None else self.config.flag(said, True)

    @property
    def n_decoder_layer(self) -> int:
        return self.config.optional_size("num_decoder_layers") or self.hyperparameters.n_layer

    def metadata(self) -> Metadata:
        return {
            **super().metadata(),
            f"{self.gguf_name}.decoder_block_count": uint32(self.n_decoder_layer),
            f"{self.gguf_name}.decoder_start_token_id": uint32(
                self.config.count("decoder_start_token_id", 0)
            ),
        }

    def tensor_rules(self) -> Sequence[TensorRule]:
        n = self.hyperparameters.n_embd
        scale = Scale(n**-0.5) if self.scales_output else None
        norm = norm_rules("dec.output_norm", "decoder.final_layer_norm", n, scale)
        rules = [*super().tensor_rules(), *norm]
        for layer in range(self.n_decoder_layer):
            source, target = f"decoder.block.{layer}.layer", f"dec.blk.{layer}"
            own, cross = f"{source}.0.SelfAttention", f"{source}.1.EncDecAttention"
            rules += self.attention_rules(own, f"{target}.attn")
            rules += norm_rules(f"{target}.attn_norm", f"{source}.0.layer_norm", n)
            rules += self.bias_rules(own, f"{target}.attn_rel_b", layer)
            rules += self.attention_rules(cross, f"{target}.cross_attn")
            rules += norm_rules(f"{target}.cross_attn_norm", f"{source}.1.layer_norm", n)
            rules += self.bias_rules(cross, f"{target}.cross_attn_rel_b", layer, optional=True)
            rules += self.feed_forward_rules(f"{source}.2", target)
        return rules


class MT5(T5):
    """MT5ForConditionalGeneration."""

    huggingface_names: ClassVar[tuple[str, ...]] = ("MT5ForConditionalGeneration",)
    defaults: ClassVar[Mapping[str, int]] = {
        **T5.defaults,
        "vocab_size": 250112,
        "d_ff": 1024,
        "num_layers": 8,
        "num_heads": 6,
    }
    default_activation: ClassVar[str] = "gated-gelu"

    @property
    def scales_output(self) -> bool:
        """Always false: mT5 was trained with a matrix of its own, whatever its files say."""
        return False


class UMT5(MT5):
    """UMT5ForConditionalGeneration: every layer has position biases of its own."""

    huggingface_names: ClassVar[tuple[str, ...]] = ("UMT5ForConditionalGeneration", "UMT5Model")
    biased_layers: ClassVar[int | None] = None

    @property
    def scales_output(self) -> bool:
        return _was_tied(self.config)


def _was_tied(config: ModelConfig) -> bool:
    """Tell whether the output matrix is the embedding, as it is unless config.json says it isn't."""
    return not config.has("tie_word_embeddings") or config.flag("tie_word_embeddings", True)
