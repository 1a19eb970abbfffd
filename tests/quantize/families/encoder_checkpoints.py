"""Checkpoints of encoders as the Hub has them, where transformers saves others or knows no such model."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tests.pico_encoder_tokenizers import N_TOKENS
from tests.quantize.families.family import Config, Shape

BERT: dict[str, Any] = {
    "hidden_size": 256,
    "intermediate_size": 512,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "max_position_embeddings": 512,
    "vocab_size": N_TOKENS,
    "pad_token_id": 0,
}
ROBERTA = BERT | {"vocab_size": 412, "pad_token_id": 1, "bos_token_id": 406, "eos_token_id": 408}
XLM = BERT | {"vocab_size": N_TOKENS, "pad_token_id": 1, "bos_token_id": 0, "eos_token_id": 2}
XLM |= {"type_vocab_size": 1, "layer_norm_eps": 1e-5}
T5 = {
    "d_model": 256,
    "d_kv": 32,
    "d_ff": 512,
    "num_layers": 3,
    "num_decoder_layers": 2,
    "num_heads": 4,
    "vocab_size": N_TOKENS,
    "pad_token_id": 0,
    "eos_token_id": 1,
    "decoder_start_token_id": 0,
}
GATED = T5 | {"feed_forward_proj": "gated-gelu", "tie_word_embeddings": False}


def as_in_old_checkpoints(shapes: dict[str, Shape]) -> dict[str, Shape]:
    """Rename norms to gamma and beta and add a tensor of positions, as in TensorFlow's old checkpoints."""

    def renamed(name: str) -> str:
        return name.replace(".weight", ".gamma").replace(".bias", ".beta") if "LayerNorm" in name else name

    positions: dict[str, Shape] = {"bert.embeddings.position_ids": (512,)}
    return positions | {renamed(name): shape for name, shape in shapes.items()}


FLASH_NAMES = {
    ".attention.self.query.": ".mixer.Wqkv.",
    ".attention.output.dense.": ".mixer.out_proj.",
    ".attention.output.LayerNorm.": ".norm1.",
    ".intermediate.dense.": ".mlp.fc1.",
    ".output.dense.": ".mlp.fc2.",
    ".output.LayerNorm.": ".norm2.",
    "encoder.layer.": "encoder.layers.",
    "embeddings.LayerNorm.": "emb_ln.",
}


def flash_name(name: str) -> str:
    """Return a name of Jina's reranker v2; the query's tensors stand for q, k and v together."""
    for usual, own in FLASH_NAMES.items():
        name = name.replace(usual, own)
    return name


def without_tied(*names: str) -> Callable[[dict[str, Shape]], dict[str, Shape]]:
    """Keep the embedding under these names only."""

    def change(shapes: dict[str, Shape]) -> dict[str, Shape]:
        return {
            **dict.fromkeys(names, shapes["shared.weight"]),
            **{k: v for k, v in shapes.items() if k != "shared.weight"},
        }

    return change


def with_head(shapes: dict[str, Shape]) -> dict[str, Shape]:
    return {**shapes, "lm_head.weight": shapes["shared.weight"]}


def nomic(*, experts: bool) -> Callable[[], tuple[Config, dict[str, Shape]]]:
    """Return config.json and tensors of nomic-embed-text v1.5, or with experts of v2."""

    def made() -> tuple[Config, dict[str, Shape]]:
        config: Config = {
            "architectures": ["NomicBertModel"],
            "model_type": "nomic_bert",
            "activation_function": "gelu" if experts else "swiglu",
            "causal": False,
            "prenorm": False,
            "layer_norm_epsilon": 1e-5,
            "n_embd": 256,
            "n_head": 4,
            "n_inner": 512,
            "n_layer": 2,
            "n_positions": 2048 if experts else 8192,
            "max_trained_positions": 2048,
            "qkv_proj_bias": experts,
            "mlp_fc1_bias": experts,
            "mlp_fc2_bias": experts,
            "rotary_emb_base": 10000 if experts else 1000,
            "rotary_emb_fraction": 1.0,
            "rotary_emb_interleaved": False,
            "rotary_emb_scale_base": None,
            "type_vocab_size": 1 if experts else 2,
            "vocab_size": N_TOKENS,
            "pad_token_id": 1 if experts else 0,
        }
        if experts:
            config |= {"moe_every_n_layers": 2, "num_experts": 4, "moe_top_k": 2}
        shapes: dict[str, Shape] = {
            "embeddings.word_embeddings.weight": (N_TOKENS, 256),
            "embeddings.token_type_embeddings.weight": (config["type_vocab_size"], 256),
            **norm("emb_ln"),
        }
        for layer in range(2):
            prefix = f"encoder.layers.{layer}"
            shapes |= {**norm(f"{prefix}.norm1"), **norm(f"{prefix}.norm2")}
            shapes |= linear(f"{prefix}.attn.Wqkv", 768, 256, bias=experts)
            shapes |= linear(f"{prefix}.attn.out_proj", 256, 256, bias=experts)
            shapes |= _nomic_mlp(f"{prefix}.mlp", experts, routed=experts and layer == 1)
        return {key: value for key, value in config.items() if value is not None}, shapes

    return made


def _nomic_mlp(prefix: str, experts: bool, *, routed: bool) -> dict[str, Shape]:
    if routed:
        return {
            f"{prefix}.router.layer.weight": (4, 256),
            f"{prefix}.experts.mlp.w1": (4 * 512, 256),
            f"{prefix}.experts.mlp.w2": (4 * 512, 256),
            f"{prefix}.experts.bias": (256,),
        }
    down = linear(f"{prefix}.fc2", 256, 512, bias=experts)
    if experts:
        return {**down, **linear(f"{prefix}.fc1", 512, 256, bias=True)}
    return {**down, **linear(f"{prefix}.fc11", 512, 256), **linear(f"{prefix}.fc12", 512, 256)}


def jina(architecture: str, *, code: bool = False) -> Callable[[], tuple[Config, dict[str, Shape]]]:
    """Return config.json and tensors of jina-embeddings-v2, or of its variant for code."""

    def made() -> tuple[Config, dict[str, Shape]]:
        config: Config = {
            "architectures": [architecture],
            "model_type": "bert",
            "position_embedding_type": "alibi",
            "feed_forward_type": "geglu",
            "hidden_act": "gelu",
            "layer_norm_eps": 1e-12,
            "type_vocab_size": 2,
            **BERT,
            "max_position_embeddings": 8192,
        }
        prefix = "" if architecture == "JinaBertModel" else "bert."
        shapes: dict[str, Shape] = {
            "embeddings.word_embeddings.weight": (N_TOKENS, 256),
            "embeddings.token_type_embeddings.weight": (2, 256),
            **norm("embeddings.LayerNorm"),
            **linear("pooler.dense", 256, 256, bias=True),
        }
        for layer in range(2):
            shapes |= _jina_layer(f"encoder.layer.{layer}", code=code)
        shapes = {prefix + name: shape for name, shape in shapes.items()}
        if architecture.endswith("MaskedLM"):
            shapes["cls.predictions.bias"] = (N_TOKENS,)
        if architecture.endswith("Classification"):
            shapes |= linear("classifier", 1, 256, bias=True)
        return config, shapes

    return made


def _jina_layer(prefix: str, *, code: bool) -> dict[str, Shape]:
    up, down = ("up_gated_layer", "down_layer") if code else ("gated_layers", "wo")
    shapes = {
        **linear(f"{prefix}.attention.output.dense", 256, 256, bias=True),
        **norm(f"{prefix}.attention.output.LayerNorm"),
        **linear(f"{prefix}.mlp.{up}", 1024, 256),
        **linear(f"{prefix}.mlp.{down}", 256, 512, bias=True),
        **norm(f"{prefix}.layer_norm_2" if code else f"{prefix}.mlp.layernorm"),
    }
    for part in ("query", "key", "value"):
        shapes |= linear(f"{prefix}.attention.self.{part}", 256, 256, bias=True)
    if code:
        shapes |= norm(f"{prefix}.layer_norm_1")
        shapes |= norm(f"{prefix}.attention.self.layer_norm_q")
        shapes |= norm(f"{prefix}.attention.self.layer_norm_k")
    return shapes


def neobert(architecture: str) -> Callable[[], tuple[Config, dict[str, Shape]]]:
    """Return config.json and tensors of NeoBERT, bare or below a classifier."""

    def made() -> tuple[Config, dict[str, Shape]]:
        config: Config = {
            "architectures": [architecture],
            "model_type": "neobert",
            **{key: BERT[key] for key in ("hidden_size", "num_hidden_layers", "num_attention_heads")},
            "intermediate_size": 768,
            "max_length": 512,
            "norm_eps": 1e-6,
            "vocab_size": N_TOKENS,
            "pad_token_id": 0,
        }
        shapes: dict[str, Shape] = {"encoder.weight": (N_TOKENS, 256), "layer_norm.weight": (256,)}
        for layer in range(2):
            prefix = f"transformer_encoder.{layer}"
            shapes |= linear(f"{prefix}.qkv", 768, 256) | linear(f"{prefix}.wo", 256, 256)
            shapes |= linear(f"{prefix}.ffn.w12", 1024, 256) | linear(f"{prefix}.ffn.w3", 256, 512)
            shapes |= {f"{prefix}.{name}.weight": (256,) for name in ("attention_norm", "ffn_norm")}
        if architecture == "NeoBERT":
            return config, shapes
        shapes = {f"model.{name}": shape for name, shape in shapes.items()}
        if architecture == "NeoBERTLMHead":
            return config, shapes | linear("decoder", N_TOKENS, 256, bias=True)
        config["id2label"] = {"0": "no", "1": "yes", "2": "perhaps"}
        return config, {
            **shapes,
            **linear("dense", 256, 256, bias=True),
            **linear("classifier", 3, 256, bias=True),
        }

    return made


def linear(name: str, rows: int, columns: int, *, bias: bool = False) -> dict[str, Shape]:
    shapes: dict[str, Shape] = {f"{name}.weight": (rows, columns)}
    return {**shapes, f"{name}.bias": (rows,)} if bias else shapes


def norm(name: str) -> dict[str, Shape]:
    return {f"{name}.weight": (256,), f"{name}.bias": (256,)}


def jina_reranker_v2() -> tuple[Config, dict[str, Shape]]:
    """Return config.json and tensors of jina-reranker-v2-base-multilingual."""
    config: Config = {
        "architectures": ["XLMRobertaForSequenceClassification"],
        "model_type": "xlm-roberta",
        "position_embedding_type": "absolute",
        "hidden_act": "gelu",
        "id2label": {"0": "LABEL_0"},
        "label2id": {"LABEL_0": 0},
        "use_flash_attn": True,
        **XLM,
    }
    shapes: dict[str, Shape] = {
        "embeddings.word_embeddings.weight": (N_TOKENS, 256),
        "embeddings.position_embeddings.weight": (512, 256),
        "embeddings.token_type_embeddings.weight": (1, 256),
        **norm("embeddings.LayerNorm"),
    }
    for layer in range(2):
        prefix = f"encoder.layer.{layer}"
        shapes |= linear(f"{prefix}.attention.self.query", 768, 256, bias=True)
        shapes |= linear(f"{prefix}.attention.output.dense", 256, 256, bias=True)
        shapes |= norm(f"{prefix}.attention.output.LayerNorm")
        shapes |= linear(f"{prefix}.intermediate.dense", 512, 256, bias=True)
        shapes |= linear(f"{prefix}.output.dense", 256, 512, bias=True)
        shapes |= norm(f"{prefix}.output.LayerNorm")
    renamed = {f"roberta.{flash_name(name)}": shape for name, shape in shapes.items()}
    return config, {
        **renamed,
        **linear("classifier.dense", 256, 256, bias=True),
        **linear("classifier.out_proj", 1, 256, bias=True),
    }
