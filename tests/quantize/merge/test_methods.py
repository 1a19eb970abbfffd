"""Each method against its formula, written down here on whole tensors in f64; and the bytes of any blocks."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from quantize.merge import chunks, sparsify
from tests.quantize.merge.models import (
    Array,
    Tensors,
    assert_close,
    assert_equal,
    in_blocks,
    open_recipe,
    weights,
    whole,
    write_family,
)

F32_ERROR = 1e-6
"""A few roundings of an f32, relative to the largest number of the tensor."""


@pytest.fixture(scope="module")
def family(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_family(tmp_path_factory.mktemp("family"), ["base", "one", "two"])


def of(family: Path, formula: Callable[[Array, Array, Array], Array]) -> Tensors:
    """Apply a formula of base, one and two to every tensor in f64; return f32."""
    models = [weights(family / name) for name in ("base", "one", "two")]
    return {
        name: formula(*(model[name].astype(np.float64) for model in models)).astype(np.float32)
        for name in models[0]
    }


def merged(
    family: Path, method: str, parameters: Mapping[str, Any] | None = None, **each: Any
) -> dict[str, Any]:
    """Merge the base and both fine-tunes; `each` are parameters as (of one, of two)."""
    models = [
        {"model": name, "parameters": {key: values[number] for key, values in each.items()}}
        for number, name in enumerate(("one", "two"))
    ]
    recipe = {"merge_method": method, "models": models}
    if method != "linear":
        recipe["base_model"] = "base"
    return recipe | ({"parameters": dict(parameters)} if parameters else {})


def elected(deltas: list[Array], weights: tuple[float, ...], normalize: bool) -> Array:
    """Return, for TIES, the numbers that agree with the sign that weighs more."""
    weighted = np.stack([delta * weight for delta, weight in zip(deltas, weights, strict=True)])
    sign = np.where(weighted.sum(axis=0) >= 0, 1.0, -1.0)
    agrees = np.sign(weighted) == sign
    total: Array = (weighted * agrees).sum(axis=0)
    if normalize:
        divisor = (np.array(weights).reshape(-1, *[1] * (agrees.ndim - 1)) * agrees).sum(axis=0)
        total /= np.where(divisor == 0, 1, divisor)
    return total


def largest_of(delta: Array, density: float) -> Array:
    """Keep the `density` largest magnitudes; of equals the first."""
    flat = delta.astype(np.float32).reshape(-1)
    kept = np.zeros(flat.size, bool)
    kept[np.argsort(-np.abs(flat), kind="stable")[: max(1, int(density * flat.size))]] = True
    return np.where(kept.reshape(delta.shape), delta, 0.0)


def test_linear(family: Path) -> None:
    with open_recipe(family, merged(family, "linear", weight=(0.3, 1.2))) as checkpoint:
        expected = of(family, lambda _, one, two: (0.3 * one + 1.2 * two) / 1.5)
        assert_close(whole(checkpoint.tensors), expected, F32_ERROR)
    unscaled = merged(family, "linear", {"normalize": False}, weight=(0.3, 1.2))
    with open_recipe(family, unscaled) as checkpoint:
        assert_close(
            whole(checkpoint.tensors), of(family, lambda _, one, two: 0.3 * one + 1.2 * two), F32_ERROR
        )


@pytest.mark.parametrize("t", [0.0, 0.3, 1.0])
def test_slerp(family: Path, t: float) -> None:
    def along(base: Array, other: Array) -> Array:
        cosine = (base * other).sum() / np.linalg.norm(base) / np.linalg.norm(other)
        if abs(cosine) > 0.9995:
            return (1 - t) * base + t * other
        angle = math.acos(cosine)
        return (math.sin((1 - t) * angle) * base + math.sin(t * angle) * other) / math.sin(angle)

    recipe = {
        "merge_method": "slerp",
        "base_model": "base",
        "models": [{"model": "base"}, {"model": "two"}],
        "parameters": {"t": t},
    }
    with open_recipe(family, recipe) as checkpoint:
        ours = whole(checkpoint.tensors)
    expected = of(family, lambda base, _, two: along(base.reshape(-1), two.reshape(-1)).reshape(base.shape))
    assert_close(ours, expected, F32_ERROR)
    q = "model.layers.0.self_attn.q_proj.weight"
    line = of(family, lambda base, _, two: (1 - t) * base + t * two)[q]
    assert (np.abs(ours[q] - line).max() > 100 * F32_ERROR) == (0 < t < 1), "an arc, and not the line"


def test_slerp_of_equals_is_the_line(family: Path) -> None:
    recipe = {"merge_method": "slerp", "base_model": "one", "models": [{"model": "one"}, {"model": "two"}]}
    with open_recipe(
        family, recipe | {"models": [{"model": "one"}, {"model": "./one"}], "parameters": {"t": 0.4}}
    ) as c:
        assert_close(whole(c.tensors), weights(family / "one"), F32_ERROR)


@pytest.mark.parametrize("normalize", [False, True])
def test_task_arithmetic(family: Path, normalize: bool) -> None:
    parameters = {"lambda": 0.7, "normalize": normalize}
    with open_recipe(family, merged(family, "task_arithmetic", parameters, weight=(0.5, -0.2))) as checkpoint:
        by = 0.3 if normalize else 1.0
        expected = of(
            family, lambda base, one, two: base + 0.7 * (0.5 * (one - base) - 0.2 * (two - base)) / by
        )
        assert_close(whole(checkpoint.tensors), expected, F32_ERROR)


@pytest.mark.parametrize("normalize", [True, False])
@pytest.mark.parametrize("density", [(0.3, 0.6), (1.0, 0.0), (0.0001, 0.5)])
def test_ties(family: Path, density: tuple[float, float], normalize: bool) -> None:
    def ties(base: Array, one: Array, two: Array) -> Array:
        deltas = [
            np.zeros_like(base) if part == 0 else largest_of(model - base, part)
            for model, part in zip((one, two), density, strict=True)
        ]
        return base + elected(deltas, (0.5, 0.4), normalize)

    recipe = merged(family, "ties", {"normalize": normalize}, weight=(0.5, 0.4), density=density)
    with open_recipe(family, recipe) as checkpoint:
        assert_close(whole(checkpoint.tensors), of(family, ties), F32_ERROR)


def test_ties_that_keep_the_sum_of_magnitudes(family: Path) -> None:
    def ties(base: Array, one: Array, two: Array) -> Array:
        deltas = []
        for model in (one, two):
            delta = model - base
            kept = largest_of(delta, 0.25)
            deltas.append(kept * np.abs(delta).sum() / np.abs(kept).sum())
        return base + elected(deltas, (1.0, 1.0), normalize=True)

    recipe = merged(family, "ties", {"rescale": True}, weight=(1, 1), density=(0.25, 0.25))
    with open_recipe(family, recipe) as checkpoint:
        assert_close(whole(checkpoint.tensors), of(family, ties), 10 * F32_ERROR)


@pytest.mark.parametrize("method", ["dare_linear", "dare_ties"])
@pytest.mark.parametrize("rescale", [True, False])
def test_dare(family: Path, method: str, rescale: bool) -> None:
    """The mask is read from the result of one model alone; how it joins with another is the formula's."""
    density = (0.25, 0.6)
    parameters = {"rescale": rescale}
    masks: list[Tensors] = []
    base = weights(family / "base")
    ordered = (("one", "two"), ("two", "one"))
    for number in range(2):  # the other model has no weight: what is left shows which numbers stay
        weight = (1.0, 0.0) if number == 0 else (0.0, 1.0)
        with open_recipe(
            family, merged(family, "dare_linear", parameters, weight=weight, density=density)
        ) as checkpoint:
            alone = whole(checkpoint.tensors)
        masks.append({name: alone[name] != base[name] for name in base})
    del ordered
    for mask, part in zip(masks, density, strict=True):
        kept, n = sum(value.sum() for value in mask.values()), sum(value.size for value in mask.values())
        assert abs(kept - part * n) < 6 * math.sqrt(n * part * (1 - part))
    assert any((masks[0][name] & ~masks[1][name]).any() for name in base), "the same numbers of both"

    def dare(name: str) -> Array:
        first = base[name].astype(np.float64)
        deltas = [
            (weights(family / model)[name].astype(np.float64) - first)
            * masks[number][name]
            / (density[number] if rescale else 1.0)
            for number, model in enumerate(("one", "two"))
        ]
        if method == "dare_ties":
            return first + elected(deltas, (0.7, 0.5), normalize=False)
        return first + 0.7 * deltas[0] + 0.5 * deltas[1]

    with open_recipe(
        family, merged(family, method, parameters, weight=(0.7, 0.5), density=density)
    ) as checkpoint:
        assert_close(whole(checkpoint.tensors), {name: dare(name) for name in base}, 5 * F32_ERROR)


RECIPES: dict[str, dict[str, Any]] = {
    "linear": {"weight": (0.3, 0.7)},
    "task_arithmetic": {"weight": (0.3, 0.7)},
    "ties": {"weight": (0.3, 0.7), "density": (0.3, 0.7)},
    "dare_linear": {"weight": (0.3, 0.7), "density": (0.3, 0.7)},
    "dare_ties": {"weight": (0.3, 0.7), "density": (0.3, 0.7)},
}


def recipe_of(family: Path, method: str) -> dict[str, Any]:
    if method == "slerp":
        models = [{"model": "base"}, {"model": "two"}]
        return {"merge_method": "slerp", "base_model": "base", "models": models, "parameters": {"t": 0.4}}
    if method == "passthrough":
        return {"merge_method": method, "models": [{"model": "one", "parameters": {"scale": 0.5}}]}
    return merged(family, method, **RECIPES[method])


@pytest.mark.parametrize("method", [*RECIPES, "slerp", "passthrough"])
@pytest.mark.parametrize("rows", [1, 7, 64])
def test_any_blocks_give_the_same_bytes(
    family: Path, method: str, rows: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also the numbers that are found once are found in chunks that don't depend on who asks."""
    monkeypatch.setattr(chunks, "CHUNK_ELEMENTS", 10_000)
    with open_recipe(family, recipe_of(family, method)) as checkpoint:
        expected = whole(checkpoint.tensors)
    with open_recipe(family, recipe_of(family, method)) as checkpoint:
        assert_equal(in_blocks(checkpoint.tensors, rows), expected)


@pytest.mark.parametrize("method", ["ties", "dare_ties", "slerp"])
def test_threads_change_nothing(family: Path, method: str) -> None:
    with open_recipe(family, recipe_of(family, method)) as checkpoint:
        expected = whole(checkpoint.tensors)
    with open_recipe(family, recipe_of(family, method)) as checkpoint, ThreadPoolExecutor(8) as pool:
        source = checkpoint.tensors
        name = "model.layers.1.mlp.down_proj.weight"
        parts = list(pool.map(lambda start: source.rows(name, start, start + 4), range(0, 256, 4)))
    assert np.concatenate(parts).tobytes() == expected[name].tobytes()


@pytest.mark.parametrize("held", [0, 2**24])
def test_the_same_numbers_are_found_in_one_read_and_in_several(
    family: Path, held: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sparsify, "HELD_ELEMENTS", held)
    recipe = merged(family, "ties", {"rescale": True}, **RECIPES["ties"])
    with open_recipe(family, recipe) as checkpoint:
        ours = whole(checkpoint.tensors)
    monkeypatch.setattr(sparsify, "HELD_ELEMENTS", 2**24)
    with open_recipe(family, recipe) as checkpoint:
        assert_equal(ours, whole(checkpoint.tensors))


def test_passthrough_copies(family: Path) -> None:
    with open_recipe(family, {"merge_method": "passthrough", "models": [{"model": "one"}]}) as checkpoint:
        assert_equal(whole(checkpoint.tensors), weights(family / "one"))
    with open_recipe(family, recipe_of(family, "passthrough")) as checkpoint:
        assert_equal(
            whole(checkpoint.tensors), {name: value / 2 for name, value in weights(family / "one").items()}
        )


@pytest.mark.parametrize("option", ["dtype", "out_dtype"])
def test_the_dtype_is_that_of_the_result(family: Path, option: str) -> None:
    plain = merged(family, "linear", weight=(1, 1))
    with open_recipe(family, plain) as checkpoint:
        full = whole(checkpoint.tensors)
        assert checkpoint.config["torch_dtype"] == "float32"
    with open_recipe(family, plain | {option: "float16"}) as checkpoint:
        assert_equal(
            whole(checkpoint.tensors), {name: value.astype(np.float16) for name, value in full.items()}
        )
        assert checkpoint.config["torch_dtype"] == "float16"


def test_without_a_dtype_it_is_that_of_the_weights(tmp_path: Path) -> None:
    family = write_family(tmp_path, ["base", "one", "two"], dtype="BF16")
    with open_recipe(family, merged(family, "task_arithmetic", weight=(1, 1))) as checkpoint:
        kinds = {entry.dtype.name for entry in checkpoint.tensors.entries.values()}
    assert kinds == {"bfloat16"}
