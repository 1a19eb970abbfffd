"""A search for types as a program calls it: what it counts, what it keeps, and that it can be cancelled."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest

from models.errors import QuantizationError
from models.paths import Paths
from models.reference import ModelRef
from models.store.store import ModelStore
from quantize.allocation.choose import Budget, budget_of_bits, knows_importance, options_for
from quantize.allocation.search_types import TypeSearch, require_reachable, search_types
from quantize.control import Cancelled, JobControl
from quantize.imatrix.file import read_imatrix
from quantize.job.request import QuantizeOptions
from quantize.job.service import quantize_reference
from quantize.plan.type_recipe import read_type_recipe
from quantize.plan.types import TypeChoice
from tests.pico import write_pico_checkpoint
from tests.quantize.calibration.pico_moments import calibration_by, collect_pico_moments

pytestmark = pytest.mark.model

LINE = "the cat sat on a mat and told the other cats of all that it had seen from there\n"


def test_a_recipe_and_the_matrix_are_kept(tmp_path: Path) -> None:
    store = ModelStore(Paths(home=tmp_path / "home", hf_cache=tmp_path / "hub"))
    ref = ModelRef.parse(str(write_pico_checkpoint(tmp_path / "pico", n_layers=1)))
    (sixteen,) = quantize_reference(ref, ["F16"], store=store).files
    search = TypeSearch(
        ref=ref,
        sixteen_bits=sixteen.path,
        text=LINE * 80,
        text_label="some/line.txt",
        budget=partial(budget_of_bits, bits_per_weight=5.5),
        out_dir=tmp_path / "out",
        max_probes=3,
        threads=2,
    )
    counts: dict[str, tuple[int, int]] = {}

    @contextmanager
    def counter(stage: str) -> Iterator[Callable[[int, int], None]]:
        yield lambda done, total: counts.update({stage: (done, total)})

    result = search_types(search, store, JobControl(counter=counter))
    assert set(counts) == {"importance matrix, chunks", "probes"}
    assert all(done == total for done, total in counts.values())
    assert result.recipe.bits_per_weight <= 5.5
    assert result.recipe.figures["text"] == "line.txt"
    assert read_type_recipe(result.path) == result.recipe
    matrix = read_imatrix(tmp_path / "out" / "pico.imatrix.gguf")
    assert matrix.datasets == ("some/line.txt",)
    options = QuantizeOptions(choice=result.choice)
    (made,) = quantize_reference(ref, [result.recipe.name], store=store, options=options).files
    assert made.size_bytes == result.recipe.size_bytes

    control = JobControl()
    control.cancel.set()
    for imatrix in (None, matrix):
        with pytest.raises(Cancelled):
            search_types(replace(search, imatrix=imatrix, out_dir=tmp_path / "none"), store, control)
    assert list((tmp_path / "none").iterdir()) == []


def test_a_size_that_no_choice_reaches_is_refused_before_anything_is_computed(tmp_path: Path) -> None:
    store = ModelStore(Paths(home=tmp_path / "home", hf_cache=tmp_path / "hub"))
    ref = ModelRef.parse(str(write_pico_checkpoint(tmp_path / "pico", n_layers=1)))
    least = []
    for is_calibrated in (False, True):
        reach = partial(require_reachable, ref, store, imatrix=None, is_calibrated=is_calibrated)
        with pytest.raises(
            QuantizationError, match=r"smallest file .* has [\d,]+ bytes .* at most 1,000;"
        ) as at:
            reach(partial(Budget, 1000))
        least.append(int(re.findall(r"[\d,]{4,}", str(at.value))[0].replace(",", "")))
        assert reach(partial(Budget, least[-1]))
        with pytest.raises(QuantizationError, match="smallest"):
            reach(partial(Budget, least[-1] - 2049))
    assert least[1] < least[0], "moments tell of the output matrix, too"
    (sixteen,) = quantize_reference(ref, ["F16"], store=store).files
    with collect_pico_moments(sixteen.path, tmp_path) as moments:
        choice = TypeChoice(calibration=calibration_by(moments))
    options = QuantizeOptions(choice=choice, dry_run=True)
    plan = quantize_reference(ref, ["Q4_K_M"], store=store, options=options).plan
    assert plan is not None
    assert options_for(Budget(least[1], plan.files[0]), knows_importance(choice.imatrix))
    with pytest.raises(QuantizationError, match="smallest") as at:
        require_reachable(ref, store, partial(Budget, 1000), choice.imatrix)
    exact = int(re.findall(r"[\d,]{4,}", str(at.value))[0].replace(",", ""))
    assert exact < least[1], "with a matrix that is here, the header is known"
    assert require_reachable(ref, store, partial(Budget, exact), choice.imatrix)
    search = TypeSearch(ref, tmp_path / "none", LINE * 80, "x", partial(Budget, 1000), tmp_path / "out")
    with pytest.raises(QuantizationError, match="smallest"):  # and not: there is no such file
        search_types(search, store)


@pytest.mark.thorough
def test_trials_are_rounded_by_the_calibration(tmp_path: Path) -> None:
    store = ModelStore(Paths(home=tmp_path / "home", hf_cache=tmp_path / "hub"))
    ref = ModelRef.parse(str(write_pico_checkpoint(tmp_path / "pico", n_layers=1)))
    (sixteen,) = quantize_reference(ref, ["F16"], store=store).files
    with collect_pico_moments(sixteen.path, tmp_path) as moments:
        calibration = calibration_by(moments)
        search = TypeSearch(
            ref=ref,
            sixteen_bits=sixteen.path,
            text=LINE * 80,
            text_label="line.txt",
            budget=partial(budget_of_bits, bits_per_weight=5.5),
            out_dir=tmp_path / "out",
            calibration=calibration,
            max_probes=2,
            threads=1,
        )
        result = search_types(search, store)
        assert result.choice.calibration is calibration
        assert [path.name for path in (tmp_path / "out").iterdir()] == [result.path.name]
        figures = read_type_recipe(result.path).figures["calibration"]
        assert (figures["method"], figures["text"]) == ("gptq", "pico text")
        options = QuantizeOptions(choice=result.choice)
        (made,) = quantize_reference(ref, [result.recipe.name], store=store, options=options).files
    assert made.size_bytes == result.recipe.size_bytes
