"""The steps of `corral quantize`: decide types, quantize with progress on stderr, measure, print."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from models.paths import Paths
from models.quantization_types import DEFAULT_TYPES
from models.reference import ModelRef, canonical_type
from models.store.store import ModelStore
from quantize.allocation.search_types import require_reachable
from quantize.calibration.calibration import Calibration
from quantize.control import JobControl
from quantize.evaluate.files import Subject
from quantize.evaluate.report import Report
from quantize.evaluate.service import with_figures
from quantize.job.durations import Durations, estimate_durations
from quantize.job.foresight import Foresight, TextToCollect, foresee
from quantize.job.held_out_check import HeldOutCheck
from quantize.job.publish import write_card
from quantize.job.request import QuantizeOptions
from quantize.job.service import QuantizationOutcome, quantize_reference
from quantize.kernels.compiler import KernelCompiler
from quantize.plan.plan import QuantizationPlan
from quantize.plan.type_recipe import TypeRecipe
from quantize.plan.types import TypeChoice
from quantize.plan.vocabulary_file import vocabulary_file
from server.cli.console import print_json, say
from server.cli.evaluate.report import EvaluateOptions, evaluate, print_report
from server.cli.progress import byte_progress, count_progress
from server.cli.quantize.calibration import CalibrateOptions, calibration, text_to_collect
from server.cli.quantize.held_out import CheckFlags
from server.cli.quantize.report import document_of, print_document
from server.cli.quantize.sixteen_bits import require_sixteen_bits
from server.cli.quantize.type_choice import GivenChoice, TypeOptions, type_choice


@dataclass(frozen=True)
class QuantizeJob:
    """One run of the command. `types`: as given with --type; `options`: all but the choice of types."""

    ref: ModelRef
    types: tuple[str, ...]
    type_options: TypeOptions
    check: CheckFlags
    options: QuantizeOptions

    def run(self, *, report: bool, as_json: bool) -> None:
        """Quantize, with `report` evaluate the files, and print the outcome. Raises what each step raises."""
        outcome, seconds = self._quantize()
        document = document_of(outcome, dry_run=self.options.dry_run, seconds=seconds)
        measured = None
        if report and not self.options.dry_run:
            measured = self._evaluate(outcome)
            document["report"] = measured.document()
        if as_json:
            print_json(document)
            return
        print_document(document)
        if not self.options.dry_run and self.options.out_dir is None:
            say(f"serve it: corral serve {outcome.ref}")
        if measured is not None:
            print_report(measured)

    def _quantize(self) -> tuple[QuantizationOutcome, float]:
        """Return the outcome, and the seconds that it took once types were decided."""
        given = self.type_options.read(self.ref)
        store = ModelStore(Paths.from_environment())
        kernels = KernelCompiler(store.paths.compiled_dir)
        counted = JobControl(counter=count_progress)
        held_out = self.check.check(is_calibrated=self.type_options.calibrate is not None)
        self._is_reachable(store, given)
        with self._calibration(store, kernels, given, held_out) as calibration:
            choice = type_choice(self.ref, self.type_options, given, store, counted, kernels, calibration)
            if held_out is not None and calibration is None and self.options.dry_run:
                choice = replace(choice or TypeChoice(), awaits_calibration=True)
            options = replace(self.options, choice=choice, held_out=held_out)
            outcome, seconds = self._carry_out(options, store, kernels)
        if outcome.plan is not None and outcome.plan.awaits_calibration:
            outcome = replace(outcome, durations=self._durations(outcome, outcome.plan, kernels))
        return outcome, seconds

    def _durations(
        self, outcome: QuantizationOutcome, plan: QuantizationPlan, kernels: KernelCompiler
    ) -> Durations:
        """Return how long a dry run's files take whose moments aren't there.

        Raises ConfigError as collecting them would: too short a text, or no 16-bit file beside `--stream`.
        """
        file, run, text = self.type_options.calibrate, self.options.run, None
        if file is not None and outcome.existing != outcome.types:
            require_sixteen_bits(self.ref, is_streamed=run.stream)
            with vocabulary_file(plan) as vocabulary:
                text = text_to_collect(file).sampling(vocabulary)
        return estimate_durations(plan, kernels, run, text=text, windows=outcome.check_windows)

    @contextmanager
    def _calibration(
        self, store: ModelStore, kernels: KernelCompiler, given: GivenChoice, check: HeldOutCheck | None
    ) -> Iterator[Calibration | None]:
        """Yield the calibration, if one is wanted and something is left to be made."""
        file = self.type_options.calibrate
        if file is None or check is None:
            yield None
            return
        run = self.options.run
        out = self.options.out_dir or Path()
        wanted = CalibrateOptions(file, out, self.type_options.threads, run.memory_bytes, run.stream)
        with calibration(
            self.ref, wanted, kernels, partial(self._foresee, store, given, check), check
        ) as opened:
            yield opened

    def _foresee(
        self, store: ModelStore, given: GivenChoice, check: HeldOutCheck, text: TextToCollect
    ) -> Foresight:
        """Look ahead at the types that are known before a search.

        A dry run's types may be there already, and it needs no moments but for a search.
        """
        is_planned = self._is_reachable(store, given)
        types = self._types(given.recipes, has_default=given.budget is None)
        if not types or self.options.dry_run:
            return Foresight(is_needed=given.budget is not None, is_planned=is_planned)
        options = replace(self.options, choice=TypeChoice(given.imatrix, given.recipes), held_out=check)
        seen = foresee(self.ref.with_type(None), types, store=store, options=options, text=text)
        is_needed = seen.is_needed or given.budget is not None
        return Foresight(is_needed, seen.is_planned and is_planned)

    def _is_reachable(self, store: ModelStore, given: GivenChoice) -> bool:
        """Raise QuantizationError for a size that no choice of types reaches; False: it isn't known yet."""
        return given.budget is None or require_reachable(
            self.ref,
            store,
            given.budget,
            given.imatrix,
            is_calibrated=self.type_options.calibrate is not None,
            stream=self.options.run.stream,
        )

    def _types(self, recipes: Sequence[TypeRecipe], *, has_default: bool = True) -> tuple[str, ...]:
        """Return the types that are asked for, those of recipes last; the usual ones where there are none."""
        own = [self.ref.type] if self.ref.type else []
        named = [*own, *map(canonical_type, self.types), *(recipe.name for recipe in recipes)]
        return tuple(dict.fromkeys(named)) or (DEFAULT_TYPES if has_default else ())

    def _carry_out(
        self, options: QuantizeOptions, store: ModelStore, kernels: KernelCompiler
    ) -> tuple[QuantizationOutcome, float]:
        """Return the outcome of the pass, and the seconds that it took."""
        recipes = options.choice.recipes if options.choice is not None else ()
        began = time.monotonic()
        with byte_progress("download") as downloaded, byte_progress("quantize") as quantized:
            outcome = quantize_reference(
                self.ref.with_type(None),
                self._types(recipes),
                store=store,
                options=options,
                control=JobControl(
                    on_download=lambda p: downloaded(p.bytes_done, p.bytes_total),
                    on_resume=lambda n, total: say(
                        f"resuming: {n} of {total} tensors were done by an earlier run"
                    ),
                    on_progress=lambda p: quantized(p.source_bytes_read, p.source_bytes),
                    counter=count_progress,
                ),
                kernels=kernels,
            )
        return outcome, time.monotonic() - began

    def _evaluate(self, outcome: QuantizationOutcome) -> Report:
        made = [file for file in outcome.files if file.type in outcome.types]
        subjects = [Subject(file.path, f"{self.ref.name}:{file.type}") for file in made]
        options = EvaluateOptions(self.type_options.text, threads=self.options.run.threads)
        measured = evaluate(str(self.ref.with_type(None)), subjects, None, options)
        if outcome.manifest is not None:
            write_card(with_figures(outcome.manifest, measured), outcome.files[0].path)
        return measured
