"""Models that see or hear around a Llama: configurations and names as their makers published them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tests.quantize.families.family import Config, Family, Shape
from tests.quantize.families.llama_makers import BPE, shapes_of_llama


def inside(
    name: str, prefix: str, others: dict[str, Shape], *, head: str = "lm_head", **fields: Any
) -> Callable[[], tuple[Config, dict[str, Shape]]]:
    """Return a maker of a model with a Llama under `prefix`, its output matrix, and `others`."""

    def make() -> tuple[Config, dict[str, Shape]]:
        config, shapes = shapes_of_llama("LlamaForCausalLM", BPE, model_type="llama", head_dim=32, **fields)()
        if "architectures" not in fields:
            del config["architectures"]
        whole: dict[str, Shape] = {
            name.replace("model.", prefix, 1) if name.startswith("model.") else f"{head}.weight": shape
            for name, shape in shapes.items()
        }
        return {"architectures": [name], "text_config": config}, {**whole, **others}

    return make


FAMILIES: tuple[Family, ...] = (
    Family(
        "voxtral",
        "VoxtralForConditionalGeneration",
        shapes=inside(
            "VoxtralForConditionalGeneration",
            "language_model.model.",
            {"audio_tower.conv1.weight": (32, 16, 3), "multi_modal_projector.linear_1.weight": (256, 32)},
            head="language_model.lm_head",
            rope_theta=100000000.0,
        ),
    ),
    Family(
        "janus",
        "JanusForConditionalGeneration",
        shapes=inside(
            "JanusForConditionalGeneration",
            "model.language_model.",
            {"model.aligner.fc1.weight": (256, 32), "model.vqmodel.quantize.embedding.weight": (32, 8)},
            rope_theta=10000.0,
        ),
    ),
    Family(
        "smolvlm",
        "SmolVLMForConditionalGeneration",
        shapes=inside(
            "SmolVLMForConditionalGeneration",
            "model.text_model.",
            {
                "model.vision_model.post_layernorm.weight": (32,),
                "model.connector.modality_projection.proj.weight": (256, 512),
            },
            architectures=["VLlama3ForCausalLM"],
            rope_theta=100000.0,
        ),
    ),
    Family(
        "sarashina2-vision",
        "Sarashina2VisionForCausalLM",
        shapes=inside(
            "Sarashina2VisionForCausalLM",
            "llm.model.",
            {"visual.patch_embed.proj.weight": (32, 3, 2, 14, 14), "norm.weight": (256,)},
            head="llm.lm_head",
            rope_theta=500000.0,
        ),
    ),
)
