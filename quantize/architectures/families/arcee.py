"""Arcee's AFM: Llama whose feed-forward has no gate and squares what is positive."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from quantize.architectures.families.llama import Llama


class Arcee(Llama):
    """ArceeForCausalLM."""

    gguf_name = "arcee"
    huggingface_names: ClassVar[tuple[str, ...]] = ("ArceeForCausalLM",)
    defaults: ClassVar[dict[str, int]] = {
        **Llama.defaults,
        "hidden_size": 2560,
        "intermediate_size": 18432,
        "max_position_embeddings": 4096,
    }
    default_epsilon = 1e-5
    activations: ClassVar[tuple[str, ...]] = ("relu2",)
    feed_forward: ClassVar[tuple[str, ...]] = ("ffn_up", "ffn_down")
    biases: ClassVar[dict[str, tuple[str, bool]]] = {}
    refused_flags: ClassVar[Mapping[str, str]] = dict.fromkeys(
        ("attention_bias", "mlp_bias"), "has no biases"
    )
