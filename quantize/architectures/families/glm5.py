"""GLM-4.7-Flash and GLM-5: DeepSeek's latent attention and experts with GLM's tokenizer.

GLM-5 has DeepSeek V3.2's indexer; from 5.2 on some layers take the tokens that a layer before them chose.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from models.errors import CheckpointError
from quantize.architectures.base.config import ModelConfig
from quantize.architectures.families.deepseek2 import Deepseek3
from quantize.architectures.families.deepseek32 import ROUTING_FIELDS, IndexedAttention
from quantize.architectures.families.glm import missing_token_metadata
from quantize.gguf.header import Metadata, ValueType, array
from quantize.vocabulary.vocabulary import Vocabulary

GLM5_TOKENS = {"bos": "[gMASK]", "eot": "<|user|>", "unk": "<|endoftext|>", "eom": "<|observation|>"}
"""The special tokens that the tokenizer files of GLM-4.5 and later don't name, by their roles."""

ROUTING: Mapping[str, Any] = {
    "n_group": 1,
    "topk_group": 1,
    "routed_scaling_factor": 2.5,
    "norm_topk_prob": True,
}


class Glm4MoeLite(Deepseek3):
    """Glm4MoeLiteForCausalLM: GLM-4.7-Flash."""

    huggingface_names: ClassVar[tuple[str, ...]] = ("Glm4MoeLiteForCausalLM",)
    defaults: ClassVar[dict[str, int]] = {
        "vocab_size": 154880,
        "hidden_size": 2048,
        "intermediate_size": 10240,
        "moe_intermediate_size": 1536,
        "num_hidden_layers": 47,
        "num_attention_heads": 20,
        "n_shared_experts": 1,
        "n_routed_experts": 64,
        "kv_lora_rank": 512,
        "q_lora_rank": 768,
        "qk_rope_head_dim": 64,
        "v_head_dim": 256,
        "qk_nope_head_dim": 192,
        "num_experts_per_tok": 4,
        "max_position_embeddings": 202752,
        "first_k_dense_replace": 1,
    }
    aliases: ClassVar[Mapping[str, str]] = {**Deepseek3.aliases, "head_dim": "qk_rope_head_dim"}
    default_routing: ClassVar[Mapping[str, Any]] = {**ROUTING, "routed_scaling_factor": 1.8}
    default_epsilon = 1e-5
    never_null: ClassVar[tuple[str, ...]] = ROUTING_FIELDS
    reads_layer_types = True

    def vocabulary_metadata(self, vocabulary: Vocabulary) -> Metadata:
        return missing_token_metadata(vocabulary, GLM5_TOKENS)


class GlmMoeDsa(IndexedAttention):
    """GlmMoeDsaForCausalLM: GLM-5."""

    gguf_name = "glm-dsa"
    huggingface_names: ClassVar[tuple[str, ...]] = ("GlmMoeDsaForCausalLM",)
    reads_back = False
    defaults: ClassVar[dict[str, int]] = {
        "vocab_size": 154880,
        "hidden_size": 6144,
        "intermediate_size": 12288,
        "moe_intermediate_size": 2048,
        "num_hidden_layers": 78,
        "num_attention_heads": 64,
        "n_shared_experts": 1,
        "n_routed_experts": 256,
        "kv_lora_rank": 512,
        "q_lora_rank": 2048,
        "qk_rope_head_dim": 64,
        "v_head_dim": 256,
        "qk_nope_head_dim": 192,
        "num_experts_per_tok": 8,
        "max_position_embeddings": 202752,
        "first_k_dense_replace": 3,
        "index_n_heads": 32,
        "index_head_dim": 128,
        "index_topk": 2048,
    }
    default_routing: ClassVar[Mapping[str, Any]] = ROUTING
    default_epsilon = 1e-5

    def __init__(self, config: ModelConfig) -> None:
        super().__init__(config)
        self.indexers = indexer_layers(self.config, self.hyperparameters.n_layer, 1)

    def has_indexer(self, layer: int) -> bool:
        """Tell whether a layer chooses tokens itself."""
        return self.indexers[layer]

    def metadata(self) -> Metadata:
        types = array(ValueType.BOOL, self.indexers)
        return super().metadata() | {f"{self.gguf_name}.attention.indexer.types": types}

    def vocabulary_metadata(self, vocabulary: Vocabulary) -> Metadata:
        return missing_token_metadata(vocabulary, GLM5_TOKENS)


def indexer_layers(config: ModelConfig, n_layer: int, every: int) -> tuple[bool, ...]:
    """Return for each layer True if it has an indexer: by a list, a pattern of letters, or a schedule.

    `every` is the schedule's period where config.json is silent. Raises CheckpointError.
    """
    kinds = config.texts("indexer_types")
    if kinds is None and isinstance(config.raw("index_topk_pattern"), str):
        kinds = tuple({"F": "full", "S": "shared"}.get(x, x) for x in config.text("index_topk_pattern"))
    elif kinds is None:
        kinds = config.texts("index_topk_pattern")
    if kinds is None:
        every, offset = (
            max(config.count("index_topk_freq", every), 1),
            config.count("index_skip_topk_offset", 2),
        )
        kinds = tuple("shared" if max(layer - offset + 1, 0) % every else "full" for layer in range(n_layer))
    if len(kinds) != n_layer or not set(kinds) <= {"full", "shared"} or kinds[0] != "full":
        raise CheckpointError(
            f"config.json has {len(kinds)} indexer_types, {', '.join(sorted(set(kinds)))}; expected are "
            f"{n_layer}, each full or shared, the first one full"
        )
    return tuple(kind == "full" for kind in kinds)
