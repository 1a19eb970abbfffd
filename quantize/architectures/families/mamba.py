"""Mamba 1 and 2, and Falcon Mamba: nothing but state spaces."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar

from models.errors import CheckpointError
from models.llamacpp.quantization.type_rules import ModelDescription
from quantize.architectures.base.architecture import Architecture
from quantize.architectures.base.config import ModelConfig
from quantize.architectures.base.decoder import Decoder
from quantize.architectures.base.rules import TensorRule, norm_rules
from quantize.architectures.base.state_space import (
    SelectiveStateSpace,
    StateSpace,
    check_time_steps,
    time_step_rank,
)
from quantize.gguf.header import Metadata, boolean

UNLIMITED = 2**20
"""The context, in tokens, that llama.cpp's files state for models without positions."""


class Mamba(Decoder):
    """MambaForCausalLM, and MambaLMHeadModel, the authors' own form of it."""

    gguf_name = "mamba"
    huggingface_names: ClassVar[tuple[str, ...]] = ("MambaForCausalLM", "MambaLMHeadModel")
    reads_back = False
    defaults: ClassVar[dict[str, int]] = {
        "vocab_size": 50280,
        "hidden_size": 768,
        "state_size": 16,
        "num_hidden_layers": 32,
        "expand": 2,
        "conv_kernel": 4,
    }
    aliases: ClassVar[Mapping[str, str]] = {"d_model": "hidden_size", "n_layer": "num_hidden_layers"}
    default_tied = True
    base_prefix: ClassVar[str] = "backbone."
    renames: ClassVar[tuple[tuple[str, str], ...]] = (("backbone.embedding.", "backbone.embeddings."),)
    epsilon_names = ("layer_norm_epsilon",)
    embedding_name = "backbone.embeddings"
    last_norm_name = "backbone.norm_f"
    normalizes_steps: ClassVar[bool] = False
    """True if time steps and what writes and reads states go through norms without scales."""

    def __init__(self, config: ModelConfig) -> None:
        Architecture.__init__(self, config)
        self.hyperparameters = ModelDescription(
            architecture=self.gguf_name,
            n_embd=self.size("hidden_size"),
            n_ff=0,
            n_layer=self.size("num_hidden_layers"),
            n_head=0,
            n_head_kv=0,
            n_embd_head_k=0,
            n_embd_head_v=0,
        )
        self.check_activation("hidden_act", self.activations)
        other = config.section("ssm_cfg") or ModelConfig({})
        if (
            config.flag("use_bias", False)
            or self.size("expand") != 2
            or other.text("layer", "Mamba1") != "Mamba1"
        ):
            raise CheckpointError(
                "config.json has use_bias, an expand other than 2, or layers of another kind in ssm_cfg; "
                f"llama.cpp's `{self.gguf_name}` has no biases, and twice the embedding's width"
            )
        self.states = self._read_states(self.hyperparameters.n_embd)

    def _read_states(self, n_embd: int) -> SelectiveStateSpace | StateSpace:
        """Return the sizes of a layer."""
        return SelectiveStateSpace(
            n_embd,
            inner=2 * n_embd,
            n_state=self.size("state_size"),
            rank=time_step_rank(self.config, "time_step_rank", n_embd),
            kernel=self.size("conv_kernel"),
            conv_bias=self.config.flag("use_conv_bias", True),
        )

    @property
    def context_length(self) -> int:
        return UNLIMITED

    @property
    def vocabulary_size(self) -> int:
        """The rows of the embedding: the authors' form pads them."""
        step = self.config.size("pad_vocab_size_multiple", 1)
        return step * -(-super().vocabulary_size // step)

    def metadata(self) -> Metadata:
        prefix = self.gguf_name
        return {
            **self.common_metadata(),
            **self.epsilon_metadata(),
            **self.states.metadata(prefix),
            f"{prefix}.ssm.dt_b_c_rms": boolean(self.normalizes_steps),
        }

    def tensor_rules(self) -> Sequence[TensorRule]:
        h = self.hyperparameters
        rules = self.outer_rules()
        for layer in range(h.n_layer):
            source, target = f"backbone.layers.{layer}", f"blk.{layer}"
            rules += norm_rules(f"{target}.attn_norm", f"{source}.norm", h.n_embd)
            rules += self.states.rules(f"{source}.mixer", target)
        return rules


class FalconMamba(Mamba):
    """FalconMambaForCausalLM."""

    huggingface_names: ClassVar[tuple[str, ...]] = ("FalconMambaForCausalLM",)
    normalizes_steps = True


class Mamba2(Mamba):
    """Mamba2ForCausalLM, such as Mamba-Codestral."""

    gguf_name = "mamba2"
    huggingface_names: ClassVar[tuple[str, ...]] = ("Mamba2ForCausalLM",)
    defaults: ClassVar[dict[str, int]] = {
        "vocab_size": 32768,
        "hidden_size": 4096,
        "state_size": 128,
        "num_hidden_layers": 64,
        "num_heads": 128,
        "head_dim": 64,
        "n_groups": 8,
        "expand": 2,
        "conv_kernel": 4,
    }
    aliases: ClassVar[Mapping[str, str]] = {}
    default_tied = False
    renames: ClassVar[tuple[tuple[str, str], ...]] = (
        ("model.backbone.", "backbone."),
        ("model.lm_head.", "lm_head."),
    )

    def _read_states(self, n_embd: int) -> StateSpace:
        check_time_steps(self.config, self.gguf_name)
        n_head, head_dim = self.size("num_heads"), self.size("head_dim")
        if n_head * head_dim != 2 * n_embd:
            raise CheckpointError(
                f"config.json has {n_head} heads of {head_dim} numbers for an embedding of {n_embd}; "
                "together they are twice as wide as it"
            )
        return StateSpace(
            n_embd,
            inner=2 * n_embd,
            n_head=n_head,
            n_group=self.size("n_groups"),
            n_state=self.size("state_size"),
            kernel=self.size("conv_kernel"),
            conv_bias=self.config.flag("use_conv_bias", True),
        )

    def metadata(self) -> Metadata:
        keys = super().metadata()
        del keys[f"{self.gguf_name}.ssm.dt_b_c_rms"]
        return keys
