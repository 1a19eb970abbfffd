"""Tiny checkpoints of models that see, as published: configurations, names and shapes of what sees."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from quantize.checkpoint.checkpoint import Checkpoint
from quantize.plan.plan import QuantizationPlan
from quantize.plan.projector import with_projector
from quantize.run.options import RunOptions
from quantize.run.pipeline import run
from tests.pico import write_json, write_safetensors
from tests.quantize.families.checkpoint import tensor_values

Shape = tuple[int, ...]

EXCEPTIONS: Final = {
    "clip.use_gelu": "Gemma 4's layers have a GELU by the hyperbolic tangent; the converter doesn't say so,"
    " and llama.cpp then computes its quick GELU",
    "tensor v.token_embd.img_break": "the converter leaves out a text model's tensors that are named"
    " `language_model.`, and with them this one, without which llama.cpp doesn't load the file",
    "general.size_label": "it counts that tensor",
}
"""The keys in which we differ from the converter, with the reasons."""

GOLDEN: Final = Path(__file__).parents[1] / "data" / "projectors"
PREPROCESSOR: Final = {"image_mean": [0.5, 0.5, 0.25], "image_std": [0.5, 0.25, 0.125]}
N, FF, TEXT = 32, 64, 256
"""The widths between and inside layers, and of the text model."""
LAYERS: Final = range(2)
NUMBERED_LAYERS: Final = range(3)
"""Of Qwen2-VL and Pixtral, whose last matrices' numbers the converter takes for layers': there are three."""
TEXT_CONFIG: Final = {
    "hidden_size": TEXT,
    "intermediate_size": 512,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 64,
    "max_position_embeddings": 512,
    "vocab_size": 410,
    "rms_norm_eps": 1e-6,
}
SIGHT: Final = {
    "hidden_size": N,
    "intermediate_size": FF,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "image_size": 64,
    "patch_size": 8,
}
QWEN_SIGHT: Final = {
    "depth": 2,
    "hidden_size": N,
    "intermediate_size": FF,
    "num_heads": 2,
    "patch_size": 8,
    "out_hidden_size": TEXT,
}


@dataclass(frozen=True)
class Sight:
    """One row. `name` is its golden file's; `exceptions`: keys in which we differ from the converter."""

    name: str
    architecture: str
    model_type: str
    vision: Mapping[str, Any]
    shapes: Mapping[str, Shape]
    text: Mapping[str, Any] = field(default_factory=dict)
    outer: Mapping[str, Any] = field(default_factory=dict)
    preprocessor: Mapping[str, Any] = field(default_factory=dict)
    added_tokens: tuple[str, ...] = ()
    exceptions: tuple[str, ...] = ()
    dtype: str = "BF16"

    def __str__(self) -> str:
        return self.name

    @property
    def config(self) -> dict[str, Any]:
        """The fields of config.json."""
        return {
            "architectures": [self.architecture],
            "model_type": self.model_type,
            "text_config": {**TEXT_CONFIG, **self.text},
            "vision_config": dict(self.vision),
            **self.outer,
        }

    def write(self, parent: Path) -> Path:
        """Write the checkpoint, without the tensors of the text model, to a folder below `parent`."""
        folder = parent / f"pico-{self.name}"
        folder.mkdir()
        write_json(folder / "config.json", self.config)
        write_json(folder / "preprocessor_config.json", {**PREPROCESSOR, **self.preprocessor})
        tokens = [{"id": 100 + at, "content": text} for at, text in enumerate(self.added_tokens)]
        write_json(folder / "tokenizer.json", {"added_tokens": tokens})
        write_json(folder / "tokenizer_config.json", {})
        values = {name: tensor_values(name, shape, self.dtype) for name, shape in self.shapes.items()}
        write_safetensors(folder / "model.safetensors", values)
        return folder


def write_projector(path: Path, folder: Path, numbers: str = "F16", sight: Sight | None = None) -> Path:
    """Write the projector of a model as wide as TEXT, and its checkpoint below `folder`; return `path`."""
    with Checkpoint.open((sight or SIGHTS[0]).write(folder)) as checkpoint:
        plan = with_projector(QuantizationPlan("", 0, 0, (), (), ()), checkpoint, numbers)
        run(plan, checkpoint.tensors, [path], RunOptions(threads=2))
    return path


def golden(sight: Sight) -> dict[str, Any]:
    """Return what llama.cpp's converter makes of the checkpoint, by type."""
    path = GOLDEN / f"{sight.name}.json"
    assert path.is_file(), f"{path} is missing: CORRAL_WRITE_GOLDEN=1 make oracle ARGS='-k {sight.name}'"
    found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return found


def linear(name: str, rows: int, columns: int, *, bias: bool = True) -> dict[str, Shape]:
    return {f"{name}.weight": (rows, columns)} | ({f"{name}.bias": (rows,)} if bias else {})


def norm(name: str, n: int = N, *, bias: bool = True) -> dict[str, Shape]:
    ends = ("weight", "bias") if bias else ("weight",)
    return {f"{name}.{end}": (n,) for end in ends}


def siglip(at: str) -> dict[str, Shape]:
    shapes: dict[str, Shape] = {
        f"{at}embeddings.patch_embedding.weight": (N, 3, 8, 8),
        f"{at}embeddings.patch_embedding.bias": (N,),
        f"{at}embeddings.position_embedding.weight": (64, N),
        **norm(f"{at}post_layernorm"),
    }
    for layer in LAYERS:
        below = f"{at}encoder.layers.{layer}"
        shapes |= norm(f"{below}.layer_norm1") | norm(f"{below}.layer_norm2")
        for part in ("q_proj", "k_proj", "v_proj", "out_proj"):
            shapes |= linear(f"{below}.self_attn.{part}", N, N)
        shapes |= linear(f"{below}.mlp.fc1", FF, N) | linear(f"{below}.mlp.fc2", N, FF)
    return shapes


GEMMA3: Final = {
    **siglip("vision_tower.vision_model."),
    "multi_modal_projector.mm_input_projection_weight": (N, TEXT),
    "multi_modal_projector.mm_soft_emb_norm.weight": (N,),
}
SMOLVLM: Final = {
    **siglip("model.vision_model."),
    "model.connector.modality_projection.proj.weight": (TEXT, 4 * N),
}


def qwen2(*, windows: bool) -> dict[str, Shape]:
    bias = not windows
    shapes: dict[str, Shape] = {"visual.patch_embed.proj.weight": (N, 3, 2, 8, 8)}
    for layer in NUMBERED_LAYERS:
        at = f"visual.blocks.{layer}"
        shapes |= norm(f"{at}.norm1", bias=bias) | norm(f"{at}.norm2", bias=bias)
        shapes |= linear(f"{at}.attn.qkv", 3 * N, N) | linear(f"{at}.attn.proj", N, N)
        if windows:
            shapes |= linear(f"{at}.mlp.gate_proj", FF, N) | linear(f"{at}.mlp.up_proj", FF, N)
            shapes |= linear(f"{at}.mlp.down_proj", N, FF)
        else:
            shapes |= linear(f"{at}.mlp.fc1", FF, N) | linear(f"{at}.mlp.fc2", N, FF)
    shapes |= norm("visual.merger.ln_q", bias=bias)
    return shapes | linear("visual.merger.mlp.0", 4 * N, 4 * N) | linear("visual.merger.mlp.2", TEXT, 4 * N)


def qwen3(n_deep: int) -> dict[str, Shape]:
    shapes: dict[str, Shape] = {
        "model.visual.patch_embed.proj.weight": (N, 3, 2, 8, 8),
        "model.visual.patch_embed.proj.bias": (N,),
        "model.visual.pos_embed.weight": (16, N),
    }
    for layer in LAYERS:
        at = f"model.visual.blocks.{layer}"
        shapes |= norm(f"{at}.norm1") | norm(f"{at}.norm2")
        shapes |= linear(f"{at}.attn.qkv", 3 * N, N) | linear(f"{at}.attn.proj", N, N)
        shapes |= linear(f"{at}.mlp.linear_fc1", FF, N) | linear(f"{at}.mlp.linear_fc2", N, FF)
    mergers = [("model.visual.merger", N)]
    mergers += [(f"model.visual.deepstack_merger_list.{number}", 4 * N) for number in range(n_deep)]
    for at, n in mergers:
        shapes |= norm(f"{at}.norm", n)
        shapes |= linear(f"{at}.linear_fc1", 4 * N, 4 * N) | linear(f"{at}.linear_fc2", TEXT, 4 * N)
    return shapes


def pixtral(embedding: str, *, merges: bool) -> dict[str, Shape]:
    shapes: dict[str, Shape] = {
        embedding: (410, TEXT),
        "vision_tower.patch_conv.weight": (N, 3, 8, 8),
        "vision_tower.ln_pre.weight": (N,),
    }
    for layer in NUMBERED_LAYERS:
        at = f"vision_tower.transformer.layers.{layer}"
        shapes |= norm(f"{at}.attention_norm", bias=False) | norm(f"{at}.ffn_norm", bias=False)
        for part in ("q_proj", "k_proj", "v_proj", "o_proj"):
            shapes |= linear(f"{at}.attention.{part}", N, N, bias=False)
        shapes |= linear(f"{at}.feed_forward.gate_proj", FF, N, bias=False)
        shapes |= linear(f"{at}.feed_forward.up_proj", FF, N, bias=False)
        shapes |= linear(f"{at}.feed_forward.down_proj", N, FF, bias=False)
    at = "multi_modal_projector"
    if merges:
        shapes |= norm(f"{at}.norm", bias=False)
        shapes |= linear(f"{at}.patch_merger.merging_layer", N, 4 * N, bias=False)
    bias = not merges
    return (
        shapes
        | linear(f"{at}.linear_1", TEXT, N, bias=bias)
        | linear(f"{at}.linear_2", TEXT, TEXT, bias=bias)
    )


def gemma4(*, bounded: bool) -> dict[str, Shape]:
    tower = "model.vision_tower"
    shapes: dict[str, Shape] = {
        f"{tower}.patch_embedder.input_proj.weight": (N, 8 * 8 * 3),
        f"{tower}.patch_embedder.position_embedding_table": (2, 3360, N),
        "model.embed_vision.embedding_projection.weight": (TEXT, N),
    }
    if not bounded:
        shapes |= {f"{tower}.std_bias": (N,), f"{tower}.std_scale": (N,)}
    matrices = {f"self_attn.{part}_proj": (N, N) for part in "qkvo"}
    matrices |= {"mlp.gate_proj": (FF, N), "mlp.up_proj": (FF, N), "mlp.down_proj": (N, FF)}
    for layer in LAYERS:
        at = f"{tower}.encoder.layers.{layer}"
        for name in ("input", "post_attention", "pre_feedforward", "post_feedforward"):
            shapes[f"{at}.{name}_layernorm.weight"] = (N,)
        shapes |= {f"{at}.self_attn.{part}_norm.weight": (N // 2,) for part in "qk"}
        for name, shape in matrices.items():
            shapes[f"{at}.{name}.linear.weight"] = shape
            if bounded:
                ends = ("input_min", "input_max", "output_min", "output_max")
                shapes |= {f"{at}.{name}.{end}": () for end in ends}
    return shapes


GEMMA4_SIGHT: Final = {
    **{name: value for name, value in SIGHT.items() if name != "image_size"},
    "num_key_value_heads": 2,
    "head_dim": N // 2,
    "position_embedding_size": 3360,
}
PIXTRAL_SIGHT: Final = SIGHT | {
    "model_type": "pixtral",
    "num_hidden_layers": 3,
    "hidden_act": "silu",
    "head_dim": N // 2,
}
BREAK: Final = ("[IMG]", "[IMG_BREAK]")

SIGHTS: Final = (
    Sight(
        "gemma3",
        "Gemma3ForConditionalGeneration",
        "gemma3",
        SIGHT | {"model_type": "siglip_vision_model"},
        GEMMA3,
        text={"query_pre_attn_scalar": 64},
        preprocessor={"image_seq_length": 16},
    ),
    Sight(
        "smolvlm",
        "SmolVLMForConditionalGeneration",
        "smolvlm",
        SIGHT | {"model_type": "smolvlm_vision"},
        SMOLVLM,
        text={"model_type": "llama"},
        outer={"scale_factor": 2},
        preprocessor={"size": {"longest_edge": 128}},
    ),
    Sight(
        "idefics3",
        "Idefics3ForConditionalGeneration",
        "idefics3",
        SIGHT | {"model_type": "idefics3_vision"},
        SMOLVLM,
        text={"model_type": "llama"},
        outer={"scale_factor": 2},
        dtype="F32",
    ),
    Sight(
        "qwen2vl",
        "Qwen2VLForConditionalGeneration",
        "qwen2_vl",
        {**QWEN_SIGHT, "depth": 3, "embed_dim": N, "hidden_size": TEXT, "mlp_ratio": 2},
        qwen2(windows=False),
        text={"model_type": "qwen2_vl_text"},
    ),
    Sight(
        "qwen2.5vl",
        "Qwen2_5_VLForConditionalGeneration",
        "qwen2_5_vl",
        {**QWEN_SIGHT, "depth": 3, "fullatt_block_indexes": [1], "hidden_act": "silu"},
        qwen2(windows=True),
        text={"model_type": "qwen2_5_vl_text"},
    ),
    Sight(
        "qwen3vl",
        "Qwen3VLForConditionalGeneration",
        "qwen3_vl",
        {**QWEN_SIGHT, "num_position_embeddings": 16, "deepstack_visual_indexes": [1]},
        qwen3(1),
        text={"model_type": "qwen3_vl_text"},
    ),
    Sight(
        "qwen3.5",
        "Qwen3_5ForConditionalGeneration",
        "qwen3_5",
        {**QWEN_SIGHT, "num_position_embeddings": 16},
        qwen3(0),
        text={"model_type": "qwen3_5_text", "layer_types": ["linear_attention", "full_attention"]},
    ),
    Sight(
        "pixtral",
        "LlavaForConditionalGeneration",
        "llava",
        PIXTRAL_SIGHT,
        pixtral("language_model.model.embed_tokens.weight", merges=False),
        text={"model_type": "mistral"},
        added_tokens=BREAK,
        exceptions=("tensor v.token_embd.img_break", "general.size_label"),
    ),
    Sight(
        "mistral3",
        "Mistral3ForConditionalGeneration",
        "mistral3",
        PIXTRAL_SIGHT,
        pixtral("language_model.model.embed_tokens.weight", merges=True),
        text={"model_type": "mistral"},
        outer={"spatial_merge_size": 2},
        added_tokens=BREAK,
        exceptions=("tensor v.token_embd.img_break", "general.size_label"),
    ),
    Sight(
        "gemma4",
        "Gemma4ForConditionalGeneration",
        "gemma4",
        GEMMA4_SIGHT | {"standardize": True},
        gemma4(bounded=False),
        text={"vocab_size_per_layer_input": 410},
        exceptions=("clip.use_gelu",),
    ),
    Sight(
        "gemma4-bounded",
        "Gemma4ForConditionalGeneration",
        "gemma4",
        GEMMA4_SIGHT | {"use_clipped_linears": True},
        gemma4(bounded=True),
        text={"vocab_size_per_layer_input": 410},
        exceptions=("clip.use_gelu",),
        dtype="F32",
    ),
)
"""Every projector that is made here, and its variants."""
