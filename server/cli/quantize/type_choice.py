"""What `corral quantize` goes by beside llama.cpp's rules: an importance matrix, a recipe, a chosen size."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from models.demo import DEMO_DIR
from models.errors import ConfigError
from models.machine.hardware import available_cores
from models.machine.host_memory import memory
from models.parse_size import parse_size
from models.reference import ModelRef
from models.store.store import ModelStore
from quantize.allocation.choose import Budget, base_bytes_by_type, budget_of_bits, choose
from quantize.allocation.recipe import Recipe, read_recipe, write_recipe
from quantize.allocation.sensitivity import DEFAULT_PROBES
from quantize.allocation.trial import TrialModel
from quantize.evaluate.measure import TextPlan
from quantize.evaluate.windows import read_text
from quantize.imatrix.compute import compute_imatrix
from quantize.imatrix.file import read_imatrix, write_imatrix
from quantize.imatrix.matrix import ImportanceMatrix
from quantize.job.service import QuantizeOptions, quantize_reference
from quantize.plan.plan import PlannedFile, TypeChoice
from server.cli.console import say, size
from server.cli.counting import count_progress
from server.cli.model_files import model_file, plain_file
from server.cli.quantize.plan_fit import PlannedModel
from server.placement import FreeMemory, ModelFacts, place
from server.serve_options import ServeOptions

DEMO_TEXT = DEMO_DIR / "texts" / "calibration.txt"
_PROBE_CHUNKS = 8
_FIT_SHARE = 0.95
"""Of the free memory; the rest is for what an estimate doesn't know."""


@dataclass(frozen=True, slots=True)
class SizeWish:
    """The options of the command line about types and size; None or False where they weren't given."""

    imatrix: Path | None = None
    recipe: Path | None = None
    target_size: str | None = None
    target_bpw: float | None = None
    fit: bool = False
    ctx: int = 4096
    text: Path | None = None
    probes: int | None = None
    out: Path | None = None
    threads: int | None = None

    @property
    def chooses(self) -> bool:
        """Is a size asked for?"""
        wishes = [
            self.target_size is not None,
            self.target_bpw is not None,
            self.fit,
            self.recipe is not None,
        ]
        if sum(wishes) > 1:
            raise ConfigError("give one of --target-size, --target-bpw, --fit and --recipe")
        return any(wishes[:3])


def choice_of(ref: ModelRef, wish: SizeWish, store: ModelStore) -> TypeChoice | None:
    """What to go by; None for llama.cpp's rules alone. A recipe that is found is written, and said.

    Raises ConfigError, QuantizationError, and what making the 16-bit file raises.
    """
    chooses = wish.chooses
    imatrix = read_imatrix(wish.imatrix) if wish.imatrix is not None else None
    if wish.recipe is not None:
        return TypeChoice(imatrix, (read_recipe(wish.recipe),))
    if chooses:
        return _chosen(ref, wish, store, imatrix)
    return None if imatrix is None else TypeChoice(imatrix)


def _chosen(ref: ModelRef, wish: SizeWish, store: ModelStore, imatrix: ImportanceMatrix | None) -> TypeChoice:
    text = read_text(plain_file(_text_path(ref, wish)))
    sixteen = model_file(str(ref.with_type("F16")), "F16").path
    threads = wish.threads or available_cores()
    folder = wish.out or Path()
    folder.mkdir(parents=True, exist_ok=True)
    stem = ref.name.rsplit("/", 1)[-1]
    if imatrix is None:
        kept = folder / f"{stem}.imatrix.gguf"
        write_imatrix(_computed(sixteen, text, wish, threads), kept)
        imatrix = read_imatrix(kept)  # as whoever repeats the recipe will have it
    base = _base(ref, store, imatrix)
    budget = _budget(base, wish)
    with (
        TrialModel(sixteen, TextPlan(text, n_chunks=_PROBE_CHUNKS), imatrix, threads=threads) as model,
        count_progress("probes") as probes,
    ):
        recipe = choose(
            budget,
            model,
            imatrix,
            figures={"text": _text_path(ref, wish).name, "probe_chunks": _PROBE_CHUNKS},
            max_probes=wish.probes or DEFAULT_PROBES,
            on_probes=probes,
        )
    path = folder / f"{stem}.{recipe.name}.recipe.json"
    write_recipe(recipe, path)
    _tell(recipe, path, base)
    return TypeChoice(imatrix, (recipe,))


def _text_path(ref: ModelRef, wish: SizeWish) -> Path:
    if wish.text is not None:
        return wish.text
    if ref.kind == "demo":
        return DEMO_TEXT
    raise ConfigError("choosing types for a size needs a text to try them on; give one with --text FILE")


def _computed(sixteen: Path, text: str, wish: SizeWish, threads: int) -> ImportanceMatrix:
    with count_progress("importance matrix, chunks") as chunks:
        return compute_imatrix(
            sixteen, text, dataset=str(wish.text or DEMO_TEXT.name), threads=threads, on_chunks=chunks
        )


def _base(ref: ModelRef, store: ModelStore, imatrix: ImportanceMatrix) -> PlannedFile:
    """The plan of a Q4_K_M file: its tensors, and what of it no choice changes."""
    options = QuantizeOptions(choice=TypeChoice(imatrix))
    outcome = quantize_reference(
        ref.with_type(None), ("Q4_K_M",), store=store, dry_run=True, force=True, options=options
    )
    if outcome.plan is None:
        raise ConfigError(f"{ref} has no weights here; download them first: corral pull {ref}")
    return outcome.plan.files[0]


def _budget(base: PlannedFile, wish: SizeWish) -> Budget:
    if wish.target_size is not None:
        return Budget(parse_size(wish.target_size), base)
    if wish.target_bpw is not None:
        return budget_of_bits(base, wish.target_bpw)
    available = memory().available_bytes
    options = ServeOptions(ctx=wish.ctx, parallel=1)
    needs = place(ModelFacts(PlannedModel(base)), options, FreeMemory(available)).model
    beside_weights = needs.total - needs.weights
    target = int(available * _FIT_SHARE) - beside_weights
    if target <= 0:
        raise ConfigError(
            f"a context of {wish.ctx} tokens takes {size(beside_weights)} beside the weights, and "
            f"{size(available)} are free; lower --ctx"
        )
    return Budget(target + len(base.header), base)


def _tell(recipe: Recipe, path: Path, base: PlannedFile) -> None:
    shares = ", ".join(f"{kind} {size(n)}" for kind, n in base_bytes_by_type(recipe, base).items())
    loss = recipe.figures["predicted_kl_divergence"]
    say(
        f"{recipe.name}: {size(recipe.size_bytes)} of {size(recipe.target_bytes)}, {shares}; expected KL "
        f"divergence {loss:.4f} nats. The recipe is kept: {path}"
    )
