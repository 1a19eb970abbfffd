"""Every projector: files equal those of llama.cpp's converter with `--mmproj`, in each type.

The golden files (`tests/quantize/data/projectors`) are written by `test_projectors_oracle.py`; no torch here.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from models.errors import CheckpointError, QuantizationError
from models.gguf.info import read_gguf_info, require_model, require_projector
from models.gguf.projector import PROJECTOR_NUMBERS
from quantize.architectures.projector_registry import PROJECTORS
from quantize.checkpoint.checkpoint import Checkpoint
from quantize.plan.plan import QuantizationPlan
from quantize.plan.projector import with_projector
from quantize.run.options import RunOptions
from quantize.run.pipeline import run
from tests.gguf_reader import QuickReader
from tests.pico import write_json
from tests.quantize.families.checkpoint import tensor_values, unpack
from tests.quantize.projectors.checkpoints import GOLDEN, SIGHTS, Sight, golden
from tests.quantize.summary import summary

EMPTY = QuantizationPlan("", 0, 0, (), (), ())
sights = pytest.mark.parametrize("sight", SIGHTS, ids=str)


def planned(folder: Path, numbers: str = "F16") -> QuantizationPlan:
    with Checkpoint.open(folder) as checkpoint:
        return with_projector(EMPTY, checkpoint, numbers)


def written(folder: Path, numbers: str, out: Path) -> Path:
    with Checkpoint.open(folder) as checkpoint:
        plan = with_projector(EMPTY, checkpoint, numbers)
        run(plan, checkpoint.tensors, [out], RunOptions(threads=2))
    return out


def without(sight: Sight, found: dict[str, Any]) -> dict[str, Any]:
    kept = {key: value for key, value in found["metadata"].items() if key not in sight.exceptions}
    tensors = {
        key: value for key, value in found["tensors"].items() if f"tensor {key}" not in sight.exceptions
    }
    return {"metadata": kept, "tensors": tensors}


@sights
def test_files_equal_the_converters(sight: Sight, tmp_path: Path) -> None:
    folder = sight.write(tmp_path)
    theirs = golden(sight)
    for numbers in PROJECTOR_NUMBERS:
        path = written(folder, numbers, tmp_path / f"{numbers}.gguf")
        ours = without(sight, summary(path))
        converted = without(sight, unpack(theirs, numbers))
        assert ours["metadata"] == converted["metadata"]
        assert ours["tensors"] == converted["tensors"]
        require_projector(read_gguf_info(path))


def test_the_end_of_a_row_is_the_tokens_embedding(tmp_path: Path) -> None:
    sight = next(sight for sight in SIGHTS if sight.name == "pixtral")
    path = written(sight.write(tmp_path), "Q8_0", tmp_path / "eyes.gguf")
    found = {tensor.name: tensor for tensor in QuickReader(path).tensors}["v.token_embd.img_break"]
    name = "language_model.model.embed_tokens.weight"
    embedding = tensor_values(name, sight.shapes[name], sight.dtype)
    np.testing.assert_array_equal(found.data, embedding[101].astype(np.float32))


def test_every_projector_has_its_checkpoint() -> None:
    assert {path.stem for path in GOLDEN.glob("*.json")} == {sight.name for sight in SIGHTS}
    tested = {PROJECTORS[sight.architecture] for sight in SIGHTS}
    assert tested == set(PROJECTORS.values())


def test_names_with_another_prefix_mean_the_same(tmp_path: Path) -> None:
    """transformers 5 saves a Gemma 3 without `vision_model.`, and in itself has `model.` in front."""
    by_name = {sight.name: sight for sight in SIGHTS}
    before = {tensor.name for tensor in planned(by_name["gemma3"].write(tmp_path)).tensors}
    for old, new in (("vision_tower.vision_model.", "vision_tower."), ("", "model.")):
        sight = by_name["gemma3"]
        shapes = {new + name.removeprefix(old): shape for name, shape in sight.shapes.items() if old in name}
        rest = {name: shape for name, shape in sight.shapes.items() if old not in name}
        renamed = Sight(
            f"gemma3{len(new)}",
            *_fields(sight),
            {**shapes, **rest},
            text=sight.text,
            preprocessor=sight.preprocessor,
        )
        assert {tensor.name for tensor in planned(renamed.write(tmp_path)).tensors} == before


def _fields(sight: Sight) -> tuple[str, str, Any]:
    return sight.architecture, sight.model_type, sight.vision


@pytest.mark.parametrize(
    ("name", "vision", "outer", "words"),
    [
        ("gemma3", {"num_attention_heads": 3}, {}, "32 for 3 heads"),
        ("gemma3", {"hidden_act": "relu"}, {}, "hidden_act 'relu'.*gemma3 computes"),
        ("gemma3", {"patch_size": 4}, {}, "has the shape"),
        ("gemma3", {"image_size": "big"}, {}, "image_size in vision_config"),
        ("smolvlm", {}, {"scale_factor": 1}, "has the shape"),
        ("qwen2.5vl", {"window_size": 56}, {}, "window_size 56"),
        ("qwen2.5vl", {"fullatt_block_indexes": [0, 3]}, {}, "equal distances"),
        ("qwen2vl", {"spatial_merge_size": 3}, {}, "spatial_merge_size 3"),
        ("qwen3vl", {"deepstack_visual_indexes": [2]}, {}, "another one of the 2 layers"),
        ("qwen3vl", {"num_position_embeddings": 15}, {}, "has the shape"),
        ("pixtral", {"model_type": "clip_vision_model"}, {}, "pixtral alone"),
        ("gemma4", {"pooling_kernel_size": 2}, {}, "pooling_kernel_size 2"),
        ("gemma4", {"head_dim": 8}, {}, "head_dim 8"),
    ],
)
def test_what_llama_cpp_cannot_compute_is_refused(
    name: str, vision: dict[str, Any], outer: dict[str, Any], words: str, tmp_path: Path
) -> None:
    folder = next(sight for sight in SIGHTS if sight.name == name).write(tmp_path)
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    config |= {"vision_config": config["vision_config"] | vision, **outer}
    write_json(folder / "config.json", config)
    with pytest.raises(CheckpointError, match=words):
        planned(folder)


def test_files_that_are_missing_are_named(tmp_path: Path) -> None:
    by_name = {sight.name: sight for sight in SIGHTS}
    folder = by_name["gemma3"].write(tmp_path)
    (folder / "preprocessor_config.json").unlink()
    with pytest.raises(CheckpointError, match=r"image_mean.*processor_config"):
        planned(folder)
    write_json(folder / "processor_config.json", {"image_processor": by_name["gemma3"].preprocessor})
    with pytest.raises(CheckpointError, match="image_mean"):
        planned(folder)
    folder = by_name["pixtral"].write(tmp_path)
    write_json(folder / "tokenizer.json", {"added_tokens": []})
    with pytest.raises(CheckpointError, match=r"\[IMG_BREAK\]"):
        planned(folder)
    write_json(folder / "tokenizer_config.json", {"added_tokens_decoder": {"7": {"content": "[IMG_BREAK]"}}})
    assert planned(folder).projector is not None


def test_a_checkpoint_without_its_tensors_has_no_projector(tmp_path: Path) -> None:
    sight = next(sight for sight in SIGHTS if sight.name == "mistral3")
    text = {name: shape for name, shape in sight.shapes.items() if "embed_tokens" in name}
    blind = Sight("blind", *_fields(sight), text, text=sight.text, added_tokens=sight.added_tokens)
    assert planned(blind.write(tmp_path)) == EMPTY


def test_one_tensor_too_few_or_too_many_is_named(tmp_path: Path) -> None:
    sight = SIGHTS[0]
    lost = "multi_modal_projector.mm_soft_emb_norm.weight"
    for name, shapes, words in (
        ("fewer", {k: v for k, v in sight.shapes.items() if k != lost}, f"lacks {lost}"),
        ("more", {**sight.shapes, "vision_tower.novel.weight": (2,)}, "vision_tower.novel.weight"),
    ):
        changed = Sight(name, *_fields(sight), shapes, text=sight.text, preprocessor=sight.preprocessor)
        with pytest.raises(CheckpointError, match=words):
            planned(changed.write(tmp_path))


def test_other_types_are_refused(tmp_path: Path) -> None:
    with pytest.raises(QuantizationError, match="Q4_K_M; choose F16 or BF16 or F32 or Q8_0"):
        planned(SIGHTS[0].write(tmp_path), "Q4_K_M")


def refusals(path: Path) -> Sequence[str]:
    from models.errors import InvalidGGUF

    with pytest.raises(InvalidGGUF) as caught:
        require_model(read_gguf_info(path))
    return [caught.value.message]


def test_a_projector_is_no_model(tmp_path: Path) -> None:
    path = written(SIGHTS[0].write(tmp_path), "F16", tmp_path / "eyes.gguf")
    assert "no model" in refusals(path)[0]
