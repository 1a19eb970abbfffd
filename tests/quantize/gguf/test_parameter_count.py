"""Parameters in and outside of experts, as the size in a model's name counts them."""

from __future__ import annotations

from quantize.gguf.parameter_count import ParameterCount


def test_without_experts_all_is_shared() -> None:
    assert ParameterCount.of([("a.weight", (4, 3)), ("b.weight", (5,))]) == ParameterCount(17, 17, 0, 0)


def test_experts_are_counted_once_each() -> None:
    tensors = [
        ("token_embd.weight", (4, 10)),
        ("blk.0.ffn_up_exps.weight", (4, 6, 8)),
        ("blk.0.ffn_up_exps.bias", (6, 8)),
        ("blk.1.ffn_up_exps.weight", (4, 6, 8)),
    ]
    counted = ParameterCount.of(tensors)
    assert counted.shared == 40
    assert counted.per_expert == 24 + 6 + 24
    assert counted.n_experts == 8
    assert counted.total == 40 + 8 * counted.per_expert
