"""`find_inputs`: the distinct inputs of a model's weights, in the order in which a graph has them."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from models.errors import QuantizationError
from models.llamacpp.eval_callback import Activations, MatmulObserver
from models.llamacpp.model import Model
from quantize.evaluate.windows import N_UBATCH, WindowRunner, Windows
from quantize.moments.moments import InputName

_MOST_TOKENS: Final = 256
"""The look at a model's graph takes so many tokens at most."""
_LEAST_BLOCK: Final = 32
"""No type with blocks encodes a row whose length isn't a multiple of this."""
_ROUTER: Final = "ffn_gate_inp.weight"
"""llama.cpp never quantizes it."""
_EMBEDDINGS: Final = "token_embd.weight"
_OUTPUT: Final = "output.weight"


@dataclass(frozen=True)
class Input:
    """An input of weights, by the name of the first that meets it in a graph.

    `weights`: the names of all that it belongs to, its own first; `n_matrices`: how many matrices each has,
    with moments of their own; `routed`: they are experts. `places`: where in a graph it is multiplied,
    counted in products.
    """

    name: str
    weights: tuple[str, ...]
    width: int
    n_matrices: int
    routed: bool
    places: tuple[int, ...]

    def units(self) -> list[InputName]:
        """Return the names of its matrices' inputs."""
        return [InputName(self.name, matrix) for matrix in range(self.n_matrices)]


class SingleWindows(Windows):
    """Windows that are computed one at a time: a graph's rows come in the order of one window's tokens."""

    @property
    def at_once(self) -> int:
        return 1


def find_inputs(model: Model, windows: Windows, threads: int) -> list[Input]:
    """Return the inputs of all weights that can be quantized, from a look at one graph of the model.

    Raises QuantizationError if none is seen; LlamaCppError.
    """
    finder = InputFinder()
    observer = MatmulObserver(is_quantizable, finder.add)
    short = SingleWindows(windows.tokens[:1, : min(windows.n_ctx, _MOST_TOKENS, N_UBATCH)], windows.bos)
    runner = WindowRunner(model, short, threads=threads, observer=observer)
    try:
        runner.run(range(1))
    finally:
        runner.close()
    inputs = finder.inputs()
    if not inputs:
        raise QuantizationError(
            f"{model.path.name} multiplies no weight that could be quantized; give one that generates text"
        )
    return inputs


def is_quantizable(name: str) -> bool:
    """True if a tensor of that name is a weight that types of fewer bits are for."""
    return name.endswith(".weight") and not name.endswith(_ROUTER)


class InputFinder:
    """The products of one graph, as they are seen. `add` is an observer's `on_activations`."""

    def __init__(self) -> None:
        self._shapes: dict[str, tuple[int, int, bool]] = {}
        self._keys: dict[str, list[object]] = {}
        self._places: dict[str, list[int]] = {}
        self._n_products = 0

    def add(self, seen: Activations) -> None:
        """Take note of a product."""
        place, self._n_products = self._n_products, self._n_products + 1
        name, width = seen.weight.name, seen.rows.shape[1]
        if width < 2 or width % _LEAST_BLOCK:
            return
        # Two tensors with the same numbers may be two inputs; the same tensor with other numbers is another.
        digest = hashlib.sha256(seen.rows.data).digest() + hashlib.sha256(seen.matrix.data).digest()
        self._keys.setdefault(name, []).append((seen.source, seen.n_matrices, digest))
        self._places.setdefault(name, []).append(place)
        self._shapes.setdefault(name, (width, seen.n_matrices, seen.routed))

    def inputs(self) -> list[Input]:
        """Return the inputs: of weights that met the same rows, each time they met any."""
        by_key: dict[tuple[object, ...], list[str]] = {}
        for name, keys in self._keys.items():
            by_key.setdefault(tuple(keys), []).append(name)
        has_output = _OUTPUT in self._keys
        found = []
        for names in by_key.values():
            width, n_matrices, routed = self._shapes[names[0]]
            tied = [_OUTPUT] if _EMBEDDINGS in names and not has_output else []
            places = tuple(self._places[names[0]])
            found.append(Input(names[0], (*names, *tied), width, n_matrices, routed, places))
        return found


def first_of_layers(inputs: Sequence[Input]) -> set[str]:
    """Return the name of the first input of each layer: there a pass asks whether it shall end."""
    by_layer: dict[str, str] = {}
    for one in inputs:
        by_layer.setdefault(".".join(one.name.split(".")[:2]), one.name)
    return set(by_layer.values())


def last_product(inputs: Sequence[Input]) -> str | None:
    """Return the weight behind which none of the `inputs` is met; None if it is met more than once itself."""
    last = max(inputs, key=lambda one: one.places[-1])
    return last.name if len(last.places) == 1 else None
