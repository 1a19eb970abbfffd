"""DeepSeek V3.2: V3's latent attention to a few tokens only, which an indexer chooses for each query."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from models.errors import CheckpointError
from quantize.architectures.base.config import ModelConfig
from quantize.architectures.base.rules import TensorRule, linear_rules, norm_rules
from quantize.architectures.families.deepseek2 import Deepseek3
from quantize.gguf.header import Metadata, uint32

SMALLEST_INDEX_HEAD = 64
ROUTING_FIELDS = ("n_routed_experts", "n_shared_experts", "n_group", "topk_group", "norm_topk_prob")


class IndexedAttention(Deepseek3):
    """Latent attention with an indexer, whose own small heads score the tokens before a query."""

    reads_layer_types = True
    never_null: ClassVar[tuple[str, ...]] = (*ROUTING_FIELDS, "head_dim")

    def __init__(self, config: ModelConfig) -> None:
        super().__init__(config)
        self.index_size = self.size("index_head_dim")
        if self.index_size < max(SMALLEST_INDEX_HEAD, self.rotated) or self.index_size.bit_count() != 1:
            raise CheckpointError(
                f"config.json has index_head_dim {self.index_size}; llama.cpp's `{self.gguf_name}` computes "
                f"with powers of two from {SMALLEST_INDEX_HEAD} on that hold the rotated part"
            )
        if self.query_latent is None or not self.hyperparameters.n_expert:
            raise CheckpointError(
                "config.json has no q_lora_rank or no n_routed_experts; llama.cpp's "
                f"`{self.gguf_name}` has latent queries and experts"
            )

    def metadata(self) -> Metadata:
        prefix = f"{self.gguf_name}.attention.indexer"
        return {
            **super().metadata(),
            f"{prefix}.head_count": uint32(self.size("index_n_heads")),
            f"{prefix}.key_length": uint32(self.index_size),
            f"{prefix}.top_k": uint32(self.size("index_topk")),
        }

    def has_indexer(self, layer: int) -> bool:
        """Tell whether a layer chooses tokens itself; else it takes those of the layer before."""
        del layer
        return True

    def tensor_rules(self) -> Sequence[TensorRule]:
        rules = list(super().tensor_rules())
        for layer in filter(self.has_indexer, range(self.hyperparameters.n_layer)):
            rules += self._indexer_rules(f"model.layers.{layer}.self_attn.indexer", f"blk.{layer}.indexer")
        return rules

    def _indexer_rules(self, source: str, target: str) -> list[TensorRule]:
        n_embd, n_head, size = self.hyperparameters.n_embd, self.size("index_n_heads"), self.index_size
        assert self.query_latent is not None, "refused"
        weights = (f"{source}.weights_proj.weight",)
        return [
            *linear_rules(f"{target}.attn_q_b", f"{source}.wq_b", (n_head * size, self.query_latent)),
            *linear_rules(f"{target}.attn_k", f"{source}.wk", (size, n_embd)),
            *norm_rules(f"{target}.k_norm", f"{source}.k_norm", size, bias=True),
            TensorRule(f"{target}.proj.weight", weights, (n_head, n_embd), f32=True),
        ]


class Deepseek32(IndexedAttention):
    """DeepseekV32ForCausalLM."""

    gguf_name = "deepseek32"
    huggingface_names: ClassVar[tuple[str, ...]] = ("DeepseekV32ForCausalLM",)
    reads_back = False
    defaults: ClassVar[dict[str, int]] = {
        **Deepseek3.defaults,
        "max_position_embeddings": 163840,
        "index_n_heads": 64,
        "index_head_dim": 128,
        "index_topk": 2048,
    }
