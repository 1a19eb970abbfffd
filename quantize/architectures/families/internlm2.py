"""InternLM2 and 2.5: Llama with queries, keys and values of each group of heads fused in one matrix."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from quantize.architectures.base.decoder import Decoder
from quantize.architectures.base.rules import TensorRule, linear_rules, norm_rules
from quantize.architectures.base.transform import RotaryHeads, Runs
from quantize.gguf.header import Metadata, boolean, uint32
from quantize.vocabulary.added_tokens import INTERNLM2, AddedTokenRules
from quantize.vocabulary.vocabulary import TokenType, Vocabulary

END_OF_TURN = "<|im_end|>"


class InternLM2(Decoder):
    """InternLM2ForCausalLM."""

    gguf_name = "internlm2"
    huggingface_names: ClassVar[tuple[str, ...]] = ("InternLM2ForCausalLM",)
    defaults: ClassVar[dict[str, int]] = {
        "vocab_size": 103168,
        "hidden_size": 4096,
        "intermediate_size": 11008,
        "num_hidden_layers": 32,
        "num_attention_heads": 32,
        "max_position_embeddings": 2048,
    }
    default_epsilon = 1e-6
    needs_output = True
    embedding_name = "model.tok_embeddings"
    head_name = "output"
    added_token_rules: ClassVar[AddedTokenRules] = INTERNLM2

    def metadata(self) -> Metadata:
        return (
            self.size_metadata()
            | self.epsilon_metadata()
            | self.rope.metadata(self.gguf_name, self.context_length)
        )

    def tensor_rules(self) -> Sequence[TensorRule]:
        h = self.hyperparameters
        rules = self.outer_rules()
        for layer in range(h.n_layer):
            source, target = f"model.layers.{layer}", f"blk.{layer}"
            rules += norm_rules(f"{target}.attn_norm", f"{source}.attention_norm", h.n_embd)
            rules += self._fused_rules(f"{source}.attention.wqkv", target)
            output = (h.n_embd, h.n_head * self.head_dim)
            rules += linear_rules(f"{target}.attn_output", f"{source}.attention.wo", output)
            rules += norm_rules(f"{target}.ffn_norm", f"{source}.ffn_norm", h.n_embd)
            forward = f"{source}.feed_forward"
            rules += linear_rules(f"{target}.ffn_gate", f"{forward}.w1", (h.n_ff, h.n_embd))
            rules += linear_rules(f"{target}.ffn_up", f"{forward}.w3", (h.n_ff, h.n_embd))
            rules += linear_rules(f"{target}.ffn_down", f"{forward}.w2", (h.n_embd, h.n_ff))
        return rules

    def _fused_rules(self, source: str, target: str) -> list[TensorRule]:
        """Return the rules of q, k and v: a group has its heads of queries, one of keys, one of values."""
        h, dim = self.hyperparameters, self.head_dim
        n_queries = h.n_head // h.n_head_kv
        group = (n_queries + 2) * dim
        all_rows = h.n_head_kv * group
        starts = range(0, all_rows, group)
        q = Runs(tuple((at, at + n_queries * dim) for at in starts), all_rows)
        k, v = (
            Runs(tuple((at + first * dim, at + (first + 1) * dim) for at in starts), all_rows)
            for first in (n_queries, n_queries + 1)
        )
        n_kv = h.n_head_kv * dim
        return [
            *linear_rules(f"{target}.attn_q", source, (h.n_head * dim, h.n_embd), RotaryHeads(dim, q)),
            *linear_rules(f"{target}.attn_k", source, (n_kv, h.n_embd), RotaryHeads(dim, k)),
            *linear_rules(f"{target}.attn_v", source, (n_kv, h.n_embd), v),
        ]

    def vocabulary_metadata(self, vocabulary: Vocabulary) -> Metadata:
        """Return the end of a chat model's turn, <|im_end|>, whatever its files call the end."""
        keys: Metadata = {}
        if vocabulary.dummy_prefix is not None:
            keys["tokenizer.ggml.add_space_prefix"] = boolean(vocabulary.dummy_prefix)
        for token_id, token in enumerate(vocabulary.tokens):
            if token.text == END_OF_TURN and token.type in (TokenType.CONTROL, TokenType.USER_DEFINED):
                keys["tokenizer.ggml.eos_token_id"] = uint32(token_id)
        return keys
