"""Tensors of decoders as their makers published them: parts of a layer, and whole models made of them."""

from __future__ import annotations

from collections.abc import Mapping

from tests.quantize.families.family import Shape

N_EMBD, N_FF, N_VOCAB = 256, 512, 410

ATTENTION: dict[str, Shape] = {
    "self_attn.q_proj.weight": (256, 256),
    "self_attn.k_proj.weight": (128, 256),
    "self_attn.v_proj.weight": (128, 256),
    "self_attn.o_proj.weight": (256, 256),
}
BIASES: dict[str, Shape] = {
    "self_attn.q_proj.bias": (256,),
    "self_attn.k_proj.bias": (128,),
    "self_attn.v_proj.bias": (128,),
}
HEAD_NORMS: dict[str, Shape] = {"self_attn.q_norm.weight": (64,), "self_attn.k_norm.weight": (64,)}
NORMS: dict[str, Shape] = {
    "input_layernorm.weight": (256,),
    "post_attention_layernorm.weight": (256,),
}


def gated(name: str = "mlp", size: int = N_FF) -> dict[str, Shape]:
    """Return the shapes of gate, up and down."""
    return {
        f"{name}.gate_proj.weight": (size, N_EMBD),
        f"{name}.up_proj.weight": (size, N_EMBD),
        f"{name}.down_proj.weight": (N_EMBD, size),
    }


def experts(n: int, size: int, name: str = "mlp.experts") -> dict[str, Shape]:
    """Return the shapes of experts that are saved one by one."""
    return {key: shape for i in range(n) for key, shape in gated(f"{name}.{i}", size).items()}


def decoder(
    *layers: Mapping[str, Shape], prefix: str = "model.", head: str = "lm_head.weight"
) -> dict[str, Shape]:
    """Return the shapes of a model with these layers."""
    shapes: dict[str, Shape] = {
        f"{prefix}embed_tokens.weight": (N_VOCAB, N_EMBD),
        f"{prefix}norm.weight": (N_EMBD,),
        head: (N_VOCAB, N_EMBD),
    }
    for at, layer in enumerate(layers):
        shapes |= {f"{prefix}layers.{at}.{name}": shape for name, shape in layer.items()}
    return shapes
