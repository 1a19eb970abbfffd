from __future__ import annotations

import random

import pytest

from models.errors import LlamaCppError
from models.llamacpp.quantization import type_rules
from models.llamacpp.quantization.ggml_types import FTYPES, type_name
from models.llamacpp.quantization.type_rules import ModelDescription, type_plan

TINY = ModelDescription("llama", 256, 512, 2, 4, 2, 64, 64)


def test_the_plan_doesnt_depend_on_the_order() -> None:
    description = ModelDescription("llama", 256, 256, 10, 4, 2, 64, 64)
    tensors = [
        (f"blk.{layer}.{part}.weight", (256, 256), 1)
        for layer in range(description.n_layer)
        for part in ("attn_v", "attn_k", "ffn_down", "ffn_up")
    ]
    plan = dict(zip(tensors, type_plan(description, FTYPES["Q4_K_M"], tensors), strict=True))
    assert len(set(plan.values())) == 2
    random.Random(1).shuffle(tensors)
    assert type_plan(description, FTYPES["Q4_K_M"], tensors) == [plan[tensor] for tensor in tensors]


def test_tied_embeddings_get_the_type_of_the_output() -> None:
    token_embd, output = ("token_embd.weight", (256, 448), 1), ("output.weight", (256, 448), 1)
    tied = type_plan(TINY, FTYPES["Q4_K_M"], [token_embd])
    untied = type_plan(TINY, FTYPES["Q4_K_M"], [token_embd, output])
    assert [type_name(number) for number in (*tied, *untied)] == ["Q6_K", "Q4_K", "Q6_K"]


@pytest.mark.parametrize("architecture", sorted(type_rules.NEWER_ARCHITECTURES))
def test_architectures_that_the_gguf_package_lacks_are_known(architecture: str) -> None:
    description = ModelDescription(architecture, 256, 512, 2, 4, 2, 64, 64)
    assert type_plan(description, FTYPES["Q8_0"], [("token_embd.weight", (256, 448), 1)])


def test_no_tensors_need_no_plan() -> None:
    assert type_plan(TINY, FTYPES["Q8_0"], []) == []


@pytest.mark.parametrize(
    ("description", "ftype", "tensors", "words"),
    [
        (TINY, 60, [], "no file type 60"),
        (TINY, 39, [], "no file type 39"),
        (ModelDescription("nope", 256, 512, 2, 4, 2, 64, 64), 15, [], "no architecture `nope`"),
        (ModelDescription("gptj", 256, 512, 2, 4, 2, 64, 64), 15, [], "no architecture `gptj`"),
        (ModelDescription("llama", 256, 512, 513, 4, 2, 64, 64), 15, [], "513 layers.*limit is 512"),
        (ModelDescription("llama", -1, 512, 2, 4, 2, 64, 64), 15, [], "n_embd is -1"),
        (TINY, 15, [("x" * 64, (256,), 0)], "1 to 63 bytes"),
        (TINY, 15, [("a", (256, 0), 0)], "sizes"),
        (TINY, 15, [("a", (1, 1, 1, 1, 1), 0)], "1 to 4 sizes"),
        (TINY, 15, [("a", (256,), 99)], "99 is no ggml type"),
        (TINY, 15, [("a", (100,), 12)], "can't be Q4_K: its blocks hold 256"),
        (
            ModelDescription("llama", 256, 512, 2, 4, 2, 64, 64, n_expert=8),
            15,
            [("blk.2.ffn_up_exps.weight", (256, 512, 8), 1)],
            "belongs to no layer",
        ),
    ],
)
def test_what_llama_cpp_would_abort_on_is_refused(
    description: ModelDescription, ftype: int, tensors: list[tuple[str, tuple[int, ...], int]], words: str
) -> None:
    with pytest.raises(LlamaCppError, match=words):
        type_plan(description, ftype, tensors)


def test_a_missing_symbol_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    type_rules.type_rules.cache_clear()
    monkeypatch.setattr(type_rules, "_QUANT_INIT", "_Z16llama_quant_initP1")
    with pytest.raises(LlamaCppError, match="doesn't export `_Z16llama_quant_initP1`"):
        type_rules.type_rules()
