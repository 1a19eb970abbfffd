"""GLM-4.5, the GLMs that see, and Solar Open."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

from tests.pico import write_json
from tests.quantize.families.family import Family, Shape, causal
from tests.quantize.families.qwen import BPE, SECTIONS, VISION, conditional

EXPERTS = {
    "moe_intermediate_size": 256,
    "n_routed_experts": 4,
    "n_shared_experts": 2,
    "num_experts_per_tok": 2,
}
HALF = {"partial_rotary_factor": 0.5}
FURTHER: dict[str, Shape] = {
    "eh_proj.weight": (256, 512),
    "enorm.weight": (256,),
    "hnorm.weight": (256,),
    "embed_tokens.weight": (410, 256),
    "shared_head.head.weight": (410, 256),
    "shared_head.norm.weight": (256,),
}
TEXTS = {"<|im_start|>": "<|user|>", "<|im_end|>": "[gMASK]", "<think>": "<|observation|>"}
SOLAR_TEXTS = {"<|im_start|>": "<|startoftext|>", "<think>": "<unk>"}


def with_tokens(texts: dict[str, str]) -> Callable[[Path], None]:
    """Return a change of a folder's tokenizer, whose special tokens get other texts and no bos is named."""

    def edit(directory: Path) -> None:
        for name in ("tokenizer.json", "tokenizer_config.json"):
            text = (directory / name).read_text(encoding="utf-8")
            for old, new in texts.items():
                text = text.replace(old, new)
            (directory / name).write_text(text, encoding="utf-8")
        config = json.loads((directory / "tokenizer_config.json").read_text(encoding="utf-8"))
        del config["bos_token"]
        config["eos_token"] = "<|endoftext|>"
        write_json(directory / "tokenizer_config.json", config)

    return edit


def with_further_layer(shapes: dict[str, Shape]) -> dict[str, Shape]:
    """Return the shapes with a third layer, which predicts further tokens, and has all it may have."""
    more = {
        name.replace("layers.1.", "layers.2."): shape for name, shape in shapes.items() if "layers.1." in name
    }
    return {**shapes, **more, **{f"model.layers.2.{name}": shape for name, shape in FURTHER.items()}}


ENDS = {"eos_token_id": 406}
NO_IDS = {"bos_token_id": None, "eos_token_id": None}

FAMILIES: tuple[Family, ...] = (
    Family(
        "glm4-moe",
        "Glm4MoeForCausalLM",
        causal("Glm4MoeConfig", **BPE, **EXPERTS, head_dim=64, use_qk_norm=True, rope_parameters=HALF),
        config=NO_IDS,
        tensors=with_further_layer,
        edit=with_tokens(TEXTS),
    ),
    Family(
        "glm4v-moe",
        "Glm4vMoeForConditionalGeneration",
        conditional(
            "Glm4vMoeForConditionalGeneration",
            "Glm4vMoeConfig",
            text_config=BPE
            | EXPERTS
            | ENDS
            | {"rope_parameters": SECTIONS | HALF | {"mrope_section": [4, 6, 6]}},
            vision_config=VISION,
        ),
        edit=with_tokens(TEXTS),
        dtype="BF16",
    ),
    Family(
        "glm4v",
        "Glm4vForConditionalGeneration",
        conditional(
            "Glm4vForConditionalGeneration",
            "Glm4vConfig",
            text_config=BPE | ENDS | {"rope_parameters": SECTIONS | HALF | {"mrope_section": [4, 6, 6]}},
            vision_config=VISION,
        ),
        edit=with_tokens(TEXTS),
    ),
    Family(
        "solar-open",
        "SolarOpenForCausalLM",
        causal(
            "SolarOpenConfig",
            **BPE | EXPERTS,
            head_dim=64,
            n_group=2,
            topk_group=1,
            rope_parameters={"rope_type": "default", "rope_theta": 1e6, "partial_rotary_factor": 1.0},
        ),
        config=NO_IDS,
        edit=with_tokens(SOLAR_TEXTS),
    ),
)
