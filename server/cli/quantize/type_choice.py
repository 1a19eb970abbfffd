"""The options of `corral quantize` about types and size: importance matrix, recipe, or a search."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final

from models.demo import DEMO_DIR
from models.errors import ConfigError
from models.machine.host_memory import memory
from models.parse_size import parse_size
from models.reference import ModelRef
from models.store.store import ModelStore
from quantize.allocation.choose import Budget, budget_of_bits, bytes_by_type
from quantize.allocation.search_types import TypeSearch, TypeSearchResult, search_types
from quantize.allocation.sensitivity import DEFAULT_PROBES
from quantize.calibration.calibration import Calibration
from quantize.calibration.texts import DEFAULT_LABEL, default_text
from quantize.control import JobControl
from quantize.evaluate.windows import read_text
from quantize.imatrix.file import read_imatrix
from quantize.imatrix.matrix import ImportanceMatrix
from quantize.kernels.compiler import KernelCompiler
from quantize.plan.plan import PlannedFile
from quantize.plan.planned_model import PlannedModel
from quantize.plan.type_recipe import TypeRecipe, read_type_recipe
from quantize.plan.types import TypeChoice
from server.cli.console import say, size
from server.cli.model_files import plain_file
from server.cli.quantize.sixteen_bits import sixteen_bits
from server.placement.facts import FreeMemory, ModelFacts
from server.placement.place import place
from server.serve_options import KVType, ServeOptions

DEMO_TEXT: Final = DEMO_DIR / "texts" / "calibration.txt"
"""The demo model's types are chosen with this text."""

_FIT_SHARE: Final = 0.95
"""A file that is to fit takes at most this fraction of free memory; the rest is for an estimate's errors."""


@dataclass(frozen=True, slots=True)
class TypeOptions:
    """The options of the command line about types and size; None or False where they weren't given."""

    imatrix: Path | None = None
    calibrate: str | None = None
    recipe: Path | None = None
    target_size: str | None = None
    target_bpw: float | None = None
    fit: bool = False
    ctx: int = 4096
    type_k: KVType = "f16"
    type_v: KVType = "f16"
    text: Path | None = None
    probes: int | None = None
    out: Path | None = None
    threads: int | None = None
    stream: bool = False

    def read(self, ref: ModelRef) -> GivenChoice:
        """Read what is named here, before anything is computed. Raises ConfigError, QuantizationError."""
        budget = self.budget()
        return GivenChoice(
            budget,
            None if self.imatrix is None else read_imatrix(self.imatrix),
            () if self.recipe is None else (read_type_recipe(self.recipe),),
            None if budget is None else self._trial_text(ref),
        )

    def budget(self) -> Callable[[PlannedFile], Budget] | None:
        """Return the budget of the requested size; None if none is requested. Raises ConfigError."""
        if sum([self.target_size is not None, self.target_bpw is not None, self.fit, bool(self.recipe)]) > 1:
            raise ConfigError("give one of --target-size, --target-bpw, --fit and --recipe")
        if self.target_size is not None:
            return partial(Budget, parse_size(self.target_size))
        if self.target_bpw is not None:
            return partial(budget_of_bits, bits_per_weight=self.target_bpw)
        return (
            partial(_budget_of_memory, ctx=self.ctx, type_k=self.type_k, type_v=self.type_v)
            if self.fit
            else None
        )

    def _trial_text(self, ref: ModelRef) -> tuple[str, str]:
        """Return the text on which types are tried, and its name. Raises ConfigError: none was given."""
        if self.text is None and self.calibrate is not None:
            return default_text(), DEFAULT_LABEL
        if self.text is None and ref.kind != "demo":
            raise ConfigError(
                "choosing types for a size needs a text to try them on; give one with --text FILE"
            )
        return read_text(plain_file(self.text or DEMO_TEXT)), str(self.text or DEMO_TEXT.name)


@dataclass(frozen=True)
class GivenChoice:
    """The files that options of types name, read. `trial_text`: with its name, where there is a budget."""

    budget: Callable[[PlannedFile], Budget] | None
    imatrix: ImportanceMatrix | None
    recipes: tuple[TypeRecipe, ...]
    trial_text: tuple[str, str] | None


def type_choice(
    ref: ModelRef,
    options: TypeOptions,
    given: GivenChoice,
    store: ModelStore,
    control: JobControl,
    kernels: KernelCompiler,
    calibration: Calibration | None = None,
) -> TypeChoice | None:
    """Return what decides types and encodings; None for llama.cpp's rules alone.

    A recipe that is searched for is reported.

    Raises ConfigError, QuantizationError, and what making the 16-bit file raises.
    """
    if given.trial_text is None or given.budget is None:
        is_given = given.imatrix is not None or calibration is not None or bool(given.recipes)
        return TypeChoice(given.imatrix, given.recipes, calibration=calibration) if is_given else None
    text, label = given.trial_text
    search = TypeSearch(
        ref=ref,
        sixteen_bits=sixteen_bits(ref, is_streamed=options.stream),
        text=text,
        text_label=label,
        budget=given.budget,
        out_dir=options.out or Path(),
        imatrix=given.imatrix,
        calibration=calibration,
        max_probes=options.probes or DEFAULT_PROBES,
        threads=options.threads,
        stream=options.stream,
    )
    result = search_types(search, store, control, kernels)
    _report(result)
    return result.choice


def _budget_of_memory(base: PlannedFile, ctx: int, type_k: KVType, type_v: KVType) -> Budget:
    """Return the budget of a file that fits the free memory with room for a context of `ctx` tokens.

    Keys and values are of these types there.
    """
    available = memory().available_bytes
    options = ServeOptions(ctx=ctx, parallel=1, type_k=type_k, type_v=type_v)
    needs = place(ModelFacts(PlannedModel(base)), options, FreeMemory(available)).model
    other = needs.total - needs.weights
    target = int(available * _FIT_SHARE) - other
    if target <= 0:
        raise ConfigError(
            f"a context of {ctx} tokens takes {size(other)} beside the weights, and "
            f"{size(available)} are free; lower --ctx, or take smaller --type-k and --type-v"
        )
    return Budget(target + len(base.header), base)


def _report(result: TypeSearchResult) -> None:
    recipe = result.recipe
    shares = ", ".join(f"{kind} {size(n)}" for kind, n in bytes_by_type(recipe, result.base).items())
    loss = recipe.figures["predicted_kl_divergence"]
    say(
        f"{recipe.name}: {size(recipe.size_bytes)} of {size(recipe.target_bytes)}, {shares}; expected KL "
        f"divergence {loss:.4f} nats. The recipe is kept: {result.path}"
    )
