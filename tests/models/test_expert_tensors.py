from __future__ import annotations

import re

import gguf
import pytest

from models.expert_tensors import experts_pattern, layer_of_experts

# llama.cpp's own, for `--cpu-moe` (common.h).
THEIRS = re.compile(r"\.ffn_(up|down|gate|gate_up)_(ch|)exps")
NAMES = [
    f"{name.format(bid=7, xid=0)}.{suffix}"
    for name in gguf.TENSOR_NAMES.values()
    for suffix in ("weight", "bias", "scale")
]


def test_experts_are_those_that_llama_cpp_keeps_on_the_cpu() -> None:
    found = {name for name in NAMES if layer_of_experts(name) == 7}
    assert found == {name for name in NAMES if THEIRS.search(name)}
    assert len(found) > 15
    assert all(layer_of_experts(name) is None for name in set(NAMES) - found)


@pytest.mark.parametrize("layers", [(7,), range(60), (3, 7, 77)])
def test_a_pattern_finds_the_experts_of_its_layers_alone(layers: tuple[int, ...]) -> None:
    pattern = re.compile(experts_pattern(layers))
    for name in NAMES:
        for layer in (0, 3, 7, 17, 70, 77):
            other = name.replace("blk.7.", f"blk.{layer}.")
            expected = layer in layers and layer_of_experts(other) == layer
            assert bool(pattern.search(other)) is expected, other
