"""The search for a file's types at a given size: importance matrix, trials, a recipe that is kept.

`choose` is the search itself; this is what is around it, as `corral quantize --target-size` does it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from models.errors import ConfigError
from models.machine.hardware import available_cores
from models.reference import ModelRef
from models.store.store import ModelStore
from quantize.allocation.choose import (
    Budget,
    choose,
    knows_importance,
    options_for,
    will_know_importance,
)
from quantize.allocation.sensitivity import DEFAULT_PROBES
from quantize.allocation.trial import TrialModel
from quantize.calibration.calibration import Calibration
from quantize.control import JobControl
from quantize.evaluate.windows import TextPlan
from quantize.imatrix.compute import compute_imatrix
from quantize.imatrix.file import read_imatrix, write_imatrix
from quantize.imatrix.matrix import ImportanceMatrix
from quantize.job.request import QuantizeOptions
from quantize.job.service import quantize_reference
from quantize.kernels.compiler import WORTH_ELEMENTS, KernelCompiler
from quantize.plan.plan import PlannedFile
from quantize.plan.type_recipe import TypeRecipe, write_type_recipe
from quantize.plan.types import TypeChoice
from quantize.run.options import RunOptions

PROBE_CHUNKS: Final = 8
"""A trial runs over this many windows of the text."""

_SPARE_BYTES: Final = 2048
"""The keys of an importance matrix and a calibration, which aren't known yet, take less of a header."""

_ENCODED_TIMES: Final = 4
"""Compiled kernels encode each weight this often: as Q4_K, Q5_K and Q6_K for its error, and in a trial."""


@dataclass(frozen=True)
class TypeSearch:
    """A search: for which model, on which text, in which size."""

    ref: ModelRef
    sixteen_bits: Path
    """The model's 16-bit GGUF file, on which types are tried."""
    text: str
    text_label: str
    """The name of the text, or its path, as it is kept with the figures."""
    budget: Callable[[PlannedFile], Budget]
    """The budget of the file, given the plan of the model's Q4_K_M file."""
    out_dir: Path
    """The folder that gets the recipe, and the importance matrix if it has to be computed."""
    imatrix: ImportanceMatrix | None = None
    """The importance matrix; None for the calibration's, or without one to compute it from the text."""
    calibration: Calibration | None = None
    """The calibration that the file will be rounded by, and so the trials."""
    max_probes: int = DEFAULT_PROBES
    """There are at most this many trials."""
    threads: int | None = None
    """The number of threads; None for one per core."""
    stream: bool = False
    """The weights are streamed from the Hub, so that they needn't be here."""

    @property
    def stem(self) -> str:
        """The name of the model's files without type and suffix."""
        return self.ref.name.rsplit("/", 1)[-1]


@dataclass(frozen=True)
class TypeSearchResult:
    """The recipe that a search has written to `path`, and the plan of the Q4_K_M file that it began with."""

    choice: TypeChoice
    recipe: TypeRecipe
    path: Path
    base: PlannedFile


def search_types(
    search: TypeSearch,
    store: ModelStore,
    control: JobControl | None = None,
    kernels: KernelCompiler | None = None,
) -> TypeSearchResult:
    """Search for the types that lose least at the size, and write them as a recipe. Blocks.

    Counts "importance matrix, chunks" and "probes". Raises ConfigError: too little text, or weights that
    aren't here; QuantizationError: too small a size; Cancelled, LlamaCppError, and what reading the model
    raises.
    """
    control = control or JobControl()
    kernels = kernels or KernelCompiler(store.paths.compiled_dir)
    threads = search.threads or available_cores()
    search.out_dir.mkdir(parents=True, exist_ok=True)
    choice = TypeChoice(search.imatrix, calibration=search.calibration)
    if choice.imatrix is None:
        require_reachable(search.ref, store, search.budget, None, stream=search.stream)
        choice = TypeChoice(_keep_imatrix(search, threads, control))
    base = _base(search.ref, store, choice, stream=search.stream)
    if base is None:
        raise ConfigError(f"{search.ref} has no weights here; download them first: corral pull {search.ref}")
    budget = search.budget(base)
    plan = TextPlan(search.text, n_chunks=PROBE_CHUNKS)
    if _ENCODED_TIMES * base.n_parameters >= WORTH_ELEMENTS:
        kernels.start()
    with TrialModel(
        search.sixteen_bits, plan, choice, threads=threads, quantize_rows=kernels.quantize_rows
    ) as model:
        recipe = choose(
            budget, model, choice, figures=_figures(search), max_probes=search.max_probes, control=control
        )
    path = search.out_dir / f"{search.stem}.{recipe.name}.recipe.json"
    write_type_recipe(recipe, path)
    return TypeSearchResult(replace(choice, recipes=(recipe,)), recipe, path, base)


def require_reachable(
    ref: ModelRef,
    store: ModelStore,
    budget: Callable[[PlannedFile], Budget],
    imatrix: ImportanceMatrix | None,
    *,
    is_calibrated: bool = False,
    stream: bool = False,
) -> bool:
    """Raise QuantizationError, with the least size, if no choice of types is as small as the budget.

    It is known before anything is computed: an importance matrix, or, `is_calibrated`, moments will tell of
    the tensors that a text meets, unless there is an `imatrix`. Returns False if the weights aren't here, and
    it isn't known yet. Raises what looking the model up and the budget raise.
    """
    base = _base(ref, store, TypeChoice(imatrix, awaits_calibration=True), stream=stream)
    if base is None:
        return False
    will_know = will_know_importance(base.tensors, of_output=is_calibrated)
    knows = will_know if imatrix is None else knows_importance(imatrix)
    header_is_known = imatrix is not None and not is_calibrated
    options_for(budget(base), knows, spare_bytes=0 if header_is_known else _SPARE_BYTES)
    return True


def _figures(search: TypeSearch) -> dict[str, object]:
    """Return what the recipe says of the search: its text, and what its trials were calibrated by."""
    figures: dict[str, object] = {"text": Path(search.text_label).name, "probe_chunks": PROBE_CHUNKS}
    if search.calibration is not None:
        keys = search.calibration.metadata()
        figures["calibration"] = {key.rsplit(".", 1)[-1]: value.data for key, value in keys.items()}
    return figures


def _keep_imatrix(search: TypeSearch, threads: int, control: JobControl) -> ImportanceMatrix:
    """Compute the importance matrix, and return it as whoever repeats the recipe will read it."""
    with control.counter("importance matrix, chunks") as on_chunks:
        matrix = compute_imatrix(
            search.sixteen_bits,
            TextPlan(search.text),
            dataset=search.text_label,
            threads=threads,
            on_chunks=on_chunks,
            cancel=control.cancel,
        )
    path = search.out_dir / f"{search.stem}.imatrix.gguf"
    write_imatrix(matrix, path)
    return read_imatrix(path)


def _base(ref: ModelRef, store: ModelStore, choice: TypeChoice, *, stream: bool) -> PlannedFile | None:
    """Return the plan of a Q4_K_M file: its tensors, and all of it that no choice changes.

    None: the weights aren't here.
    """
    run = RunOptions(stream=stream)
    options = QuantizeOptions(choice=choice, with_projector=False, dry_run=True, force=True, run=run)
    plan = quantize_reference(ref.with_type(None), ("Q4_K_M",), store=store, options=options).plan
    return None if plan is None else plan.files[0]
