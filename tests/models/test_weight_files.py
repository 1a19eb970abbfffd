"""The rule that chooses weights: transformers' order, stale and foreign indexes, files of other names."""

from __future__ import annotations

import pytest

from models.errors import CheckpointError
from models.weight_files import WeightFiles, choose_weight_files

WHOLE, INDEX = "model.safetensors", "model.safetensors.index.json"
BIN, BIN_INDEX = "pytorch_model.bin", "pytorch_model.bin.index.json"
TWO = ("model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors")
THREE = tuple(f"model-0000{i}-of-00003.safetensors" for i in (1, 2, 3))
BINS = ("pytorch_model-00001-of-00002.bin", "pytorch_model-00002-of-00002.bin")


def choice(*names: str, **indexes: tuple[str, ...]) -> WeightFiles | None:
    """Choose among `names`; `safetensors` and `bins` are the files that the indexes list, one tensor each."""
    content = {INDEX: indexes.get("safetensors", ()), BIN_INDEX: indexes.get("bins", ())}
    return choose_weight_files(names, lambda index: {file: file for file in content[index]})


def chosen(*names: str, **indexes: tuple[str, ...]) -> tuple[str, ...]:
    files = choice(*names, **indexes)
    return files.names if files is not None else ()


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        ((WHOLE, INDEX, *TWO, BIN, BIN_INDEX, *BINS), (WHOLE,)),
        ((INDEX, *TWO, BIN, BIN_INDEX, *BINS), TWO),
        ((*TWO, BIN, BIN_INDEX, *BINS), TWO),
        ((BIN, BIN_INDEX, *BINS), (BIN,)),
        ((BIN_INDEX, *BINS), BINS),
        (BINS, BINS),
        (("config.json",), ()),
    ],
)
def test_the_order_is_transformers(names: tuple[str, ...], expected: tuple[str, ...]) -> None:
    assert chosen(*names, safetensors=TWO, bins=BINS) == expected


@pytest.mark.parametrize("listed", [TWO, THREE, ("elsewhere.safetensors",)])
def test_a_whole_file_hides_an_index(listed: tuple[str, ...]) -> None:
    assert chosen(WHOLE, INDEX, *THREE, safetensors=listed) == (WHOLE,)
    assert choose_weight_files([WHOLE, INDEX, *THREE]) == WeightFiles((WHOLE,))


def test_an_index_says_which_shards() -> None:
    files = choice(INDEX, *TWO, *THREE, safetensors=THREE)
    assert files is not None
    assert (files.names, files.index, set(files.weight_map)) == (THREE, INDEX, set(THREE))
    assert chosen(INDEX, "one.safetensors", "two.safetensors", safetensors=("two.safetensors",)) == (
        "two.safetensors",
    )


def test_an_index_of_files_that_are_gone_is_left_aside() -> None:
    assert chosen(INDEX, *TWO, safetensors=THREE) == TWO
    assert chosen(INDEX, BIN, safetensors=THREE) == (BIN,)
    assert chosen(INDEX, BIN_INDEX, *BINS, safetensors=THREE, bins=BINS) == BINS
    assert chosen(INDEX, "weights.safetensors", safetensors=THREE) == ("weights.safetensors",)
    assert chosen(BIN_INDEX, *TWO, bins=BINS) == TWO


def test_an_index_of_which_a_part_is_there_is_refused() -> None:
    with pytest.raises(CheckpointError, match=f"{INDEX} names {THREE[1]}, which is missing"):
        choice(INDEX, THREE[0], *TWO, safetensors=THREE)
    with pytest.raises(CheckpointError, match=f"{BIN_INDEX} names {BINS[0]}, which is missing"):
        choice(BIN_INDEX, bins=BINS)


def test_shards_without_an_index() -> None:
    assert chosen(*THREE) == THREE
    assert chosen(THREE[0], *TWO) == TWO
    assert chosen(THREE[0], BIN) == (BIN,)
    assert chosen(THREE[0]) == (THREE[0],)


def test_before_a_download_all_complete_sets_are_meant() -> None:
    assert choose_weight_files([INDEX, *TWO]) == WeightFiles(TWO, INDEX)
    assert choose_weight_files([INDEX, THREE[0], *TWO]) == WeightFiles(TWO, INDEX, is_certain=False)
    both = choose_weight_files([INDEX, *THREE, *TWO], lambda _: None)
    assert both == WeightFiles(tuple(sorted((*THREE, *TWO))), INDEX, is_certain=False)
    extra = choose_weight_files([INDEX, "mtp.safetensors", *TWO])
    assert extra == WeightFiles(TWO, INDEX, is_certain=False)
    others = ("one.safetensors", "two.safetensors")
    found = choose_weight_files([INDEX, *others, "consolidated.safetensors"])
    assert found == WeightFiles(others, INDEX, is_certain=False)
    assert choose_weight_files([INDEX, BIN]) == WeightFiles((BIN,))


def test_files_of_other_names_come_last() -> None:
    assert chosen("model.fp16.safetensors", BIN) == (BIN,)
    assert chosen("model.fp16.safetensors", "x.safetensors") == ("model.fp16.safetensors",)
    assert chosen("gptq_model-4bit.safetensors", "adapter_model.safetensors", "optimizer.safetensors") == (
        "gptq_model-4bit.safetensors",
    )
    assert chosen("._x.safetensors", "x.safetensors") == ("x.safetensors",)
    assert chosen("pytorch_model-1.bin", "optimizer.bin") == ("pytorch_model-1.bin",)
    assert chosen("consolidated.00.pth", "optimizer.pt", "scheduler.pt") == ("consolidated.00.pth",)


def test_metas_files_beside_the_others_and_alone() -> None:
    assert chosen("consolidated.safetensors", *TWO) == TWO
    assert chosen("consolidated.safetensors", BIN) == (BIN,)
    assert chosen("consolidated.safetensors", "adapter_model.safetensors", "config.json") == ()
