"""The names of a mixture's experts among a model's tensors, and patterns that find them. Pure."""

from __future__ import annotations

import re
from collections.abc import Collection
from typing import Final

_EXPERTS: Final = r"\.ffn_(up|down|gate|gate_up)_(ch)?exps\."
_IN_LAYER: Final = re.compile(rf"^blk\.([0-9]+){_EXPERTS}")


def layer_of_experts(tensor_name: str) -> int | None:
    """Return the layer of a tensor that has numbers of all experts; None for every other tensor.

    Experts that every token meets (`…_shexp`) and the router are no such tensors.
    """
    found = _IN_LAYER.match(tensor_name)
    return None if found is None else int(found[1])


def experts_pattern(layers: Collection[int]) -> str:
    """Return a regular expression, in Python's and ECMAScript's grammar, of the names of layers' experts.

    One for all layers: llama.cpp compiles each pattern anew for each tensor.
    """
    assert layers, "no layer has experts to be found"
    return rf"^blk\.({'|'.join(str(layer) for layer in sorted(layers))}){_EXPERTS}"
