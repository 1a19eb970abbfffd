"""PEFT and mergekit say the same: merged weights within the last bits of an f32.

Needs torch, and peft or mergekit beside it, which no requirements file of ours installs: skipped without.
DARE's choice is random in mergekit, so that it is compared with nothing dropped.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from quantize.checkpoint.checkpoint import open_weights
from quantize.merge.lora import LoraSource
from tests.peft import read_tensors
from tests.quantize.merge.models import assert_close, open_recipe, weights, whole, write_family

pytestmark = [
    pytest.mark.oracle,
    pytest.mark.timeout(300),
    pytest.mark.filterwarnings("default"),
]

LAST_BITS = 5e-7
"""The tolerance of a number, relative to the largest of its tensor."""

LINEAR = ["q_proj", "k_proj", "v_proj", "o_proj", "up_proj", "down_proj", "gate_proj"]
CONV = {"target_modules": ["c_attn", "c_fc"], "fan_in_fan_out": True}

ADAPTERS: dict[str, dict[str, Any]] = {
    "plain": {"target_modules": LINEAR},
    "rslora, patterns": {
        "target_modules": LINEAR,
        "use_rslora": True,
        "rank_pattern": {"down_proj": 4},
        "alpha_pattern": {"q_proj": 3},
    },
    "dora": {"target_modules": LINEAR, "use_dora": True},
    "dora of an embedding": {"target_modules": ["embed_tokens", "q_proj"], "use_dora": True},
    "embedding": {"target_modules": ["embed_tokens", "lm_head"]},
    "modules_to_save": {"target_modules": ["q_proj"], "modules_to_save": ["lm_head", "norm"]},
    "bias": {"target_modules": ["q_proj"], "bias": "all"},
    "lora_bias": {"target_modules": ["q_proj"], "lora_bias": True},
    "gpt2": CONV,
    "gpt2, square, flag unset": {"target_modules": ["c_proj"]},
    "gpt2, dora": CONV | {"use_dora": True},
}


@pytest.mark.parametrize("name", ADAPTERS)
def test_peft(name: str, tmp_path: Path) -> None:
    peft = pytest.importorskip("peft")
    import torch
    import transformers

    torch.manual_seed(0)
    if name.startswith("gpt2"):
        size = {
            "vocab_size": 300,
            "n_embd": 96,
            "n_layer": 2,
            "n_head": 4,
            "bos_token_id": 0,
            "eos_token_id": 0,
        }
        model = transformers.GPT2LMHeadModel(transformers.GPT2Config(**size))
    else:
        size = {
            "hidden_size": 128,
            "intermediate_size": 256,
            "num_hidden_layers": 2,
            "num_attention_heads": 4,
        }
        config = transformers.LlamaConfig(vocab_size=300, attention_bias=True, **size)
        model = transformers.LlamaForCausalLM(config)
    model.save_pretrained(tmp_path / "base")
    settings = peft.LoraConfig(
        task_type="CAUSAL_LM", r=8, lora_alpha=16, init_lora_weights=False, **ADAPTERS[name]
    )
    adapted = peft.get_peft_model(model, settings)
    with torch.no_grad():
        for parameter in adapted.parameters():
            if parameter.requires_grad:
                parameter.add_(torch.randn_like(parameter), alpha=0.05)
    adapted.save_pretrained(tmp_path / "adapter")
    adapted.merge_and_unload().save_pretrained(tmp_path / "merged")
    fields = json.loads((tmp_path / "base" / "config.json").read_text())
    source = LoraSource(open_weights(tmp_path / "base"), [(tmp_path / "adapter", 1.0)], fields)
    try:
        ours = whole(source)
    finally:
        source.close()
    theirs, before = weights(tmp_path / "merged"), weights(tmp_path / "base")
    assert any((theirs[tensor] != value).any() for tensor, value in before.items())
    assert_close(ours, theirs, LAST_BITS)


TIED: dict[str, dict[str, Any]] = {
    "output": {"target_modules": ["lm_head", "q_proj"]},
    "embedding": {"target_modules": ["embed_tokens"]},
    "embedding, tied": {"target_modules": ["embed_tokens"], "ensure_weight_tying": True},
    "saved output": {"target_modules": ["q_proj"], "modules_to_save": ["lm_head"]},
    "saved embedding": {"target_modules": ["q_proj"], "modules_to_save": ["embed_tokens"]},
    "saved, tied": {
        "target_modules": ["q_proj"],
        "modules_to_save": ["lm_head"],
        "ensure_weight_tying": True,
    },
}


@pytest.mark.parametrize("name", TIED)
def test_peft_with_a_tied_model(name: str, tmp_path: Path) -> None:
    """The merged weights compute what PEFT's model does with the adapter active.

    PEFT's own merge doesn't: what belongs to one half it adds to the parameter that both are.
    """
    peft = pytest.importorskip("peft")
    import torch
    import transformers

    torch.manual_seed(0)
    size = {"hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 1, "num_attention_heads": 4}
    config = transformers.LlamaConfig(vocab_size=300, tie_word_embeddings=True, **size)
    model = transformers.LlamaForCausalLM(config)
    model.save_pretrained(tmp_path / "base")
    settings = peft.LoraConfig(task_type="CAUSAL_LM", r=8, lora_alpha=16, **TIED[name])
    adapted = peft.get_peft_model(model, settings).eval()
    with torch.no_grad():
        for parameter in adapted.parameters():
            if parameter.requires_grad:
                parameter.add_(torch.randn_like(parameter), alpha=0.05)
    adapted.save_pretrained(tmp_path / "adapter")
    fields = json.loads((tmp_path / "base" / "config.json").read_text())
    source = LoraSource(open_weights(tmp_path / "base"), [(tmp_path / "adapter", 1.0)], fields)
    try:
        tensors, result = whole(source), transformers.LlamaConfig(**source.config)
    finally:
        source.close()
    ours = transformers.LlamaForCausalLM(result).eval()
    state = {key: torch.from_numpy(value.copy()) for key, value in tensors.items()}
    lacking, unknown = ours.load_state_dict(state, strict=False)
    assert not unknown
    assert set(lacking) <= {"lm_head.weight"}
    assert result.tie_word_embeddings is ("tied" in name)
    ours.tie_weights()
    tokens = torch.arange(0, 300, 7)[None]
    with torch.no_grad():
        difference = (ours(tokens).logits - adapted(tokens).logits).abs().max()
    assert difference < 1e-4


def models(**each: Any) -> list[dict[str, Any]]:
    return [
        {"model": name, "parameters": {key: values[number] for key, values in each.items()}}
        for number, name in enumerate(("one", "two"))
    ]


def based(method: str, **recipe: Any) -> dict[str, Any]:
    return {"merge_method": method, "base_model": "base", **recipe}


RECIPES: dict[str, dict[str, Any]] = {
    "linear": {"merge_method": "linear", "models": models(weight=(0.3, [0.2, 0.9]))},
    "slerp": based(
        "slerp",
        slices=[{"sources": [{"model": name, "layer_range": [0, 3]} for name in ("base", "one")]}],
        parameters={
            "t": [
                {"filter": "mlp", "value": [0, 0.5, 0.3, 0.7]},
                {"filter": "attn", "value": [1, 0]},
                {"value": 0.4},
            ]
        },
    ),
    "task_arithmetic": based(
        "task_arithmetic", models=models(weight=(0.5, -0.3)), parameters={"lambda": 0.8}
    ),
    "ties": based("ties", models=models(weight=(0.5, 0.4), density=(0.3, 0.6))),
    "ties, rescaled": based(
        "ties",
        models=models(weight=(0.5, 0.4), density=(0.3, [0.1, 0.9])),
        parameters={"normalize": False, "rescale": True},
    ),
    "dare_ties": based("dare_ties", models=models(weight=(0.5, 0.4))),
    "dare_linear": based("dare_linear", models=models(weight=(0.5, 0.4))),
    "frankenmerge": {
        "merge_method": "passthrough",
        "slices": [
            {"sources": [{"model": "base", "layer_range": [0, 2]}]},
            {
                "sources": [{"model": "one", "layer_range": [1, 3]}],
                "parameters": {"scale": [{"filter": "o_proj", "value": 0.5}, {"value": 1}]},
            },
        ],
    },
}


@pytest.mark.parametrize("name", RECIPES)
def test_mergekit(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("mergekit")
    config, merge, options = (
        pytest.importorskip(f"mergekit.{part}") for part in ("config", "merge", "options")
    )
    folder = write_family(tmp_path / "family", ["base", "one", "two"], n_layers=3)
    monkeypatch.chdir(folder)
    recipe = RECIPES[name] | {"dtype": "float32"}
    merge.run_merge(
        config.MergeConfiguration.model_validate(recipe),
        str(tmp_path / "theirs"),
        options.MergeOptions(quiet=True, copy_tokenizer=False, write_model_card=False),
    )
    theirs: dict[str, Any] = {}
    for file in (tmp_path / "theirs").glob("*.safetensors"):
        theirs |= read_tensors(file)
    with open_recipe(folder, recipe) as checkpoint:
        assert_close(whole(checkpoint.tensors), theirs, LAST_BITS)
