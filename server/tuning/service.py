"""`Search`: a search for one model file on this machine, from its parts to its result."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from models.errors import LlamaCppError
from models.gguf.info import read_gguf_info
from models.machine.fit import pad_cells
from models.machine.host_memory import memory
from models.machine.native_facts import NativeFacts, ask
from models.store.fingerprint import fingerprint
from models.version import VERSION
from server.placement.place import estimate_at
from server.serve_options import ServeOptions
from server.tuning.busy import busy_process
from server.tuning.machine import Machine
from server.tuning.messages import Job
from server.tuning.paired_runner import PairedRunner
from server.tuning.result_store import LoadFigure, Result
from server.tuning.session import MeasuringProcess
from server.tuning.settings import Settings, as_options
from server.tuning.space import N_UBATCH, Site, Space, space_for
from server.tuning.tuner import Outcome, Step, Tuner
from server.tuning.workload import Workload

MEMORY_PART = 0.7
"""Two copies of the model are measured side by side if they take at most this fraction of the free memory."""


@dataclass(frozen=True, slots=True)
class Search:
    """Everything that a search needs, for `--dry-run` to show and `run` to do."""

    path: Path
    model: str
    machine: Machine
    site: Site
    space: Space
    workload: Workload
    room_for_two: bool

    def run(self, budget_s: float, on_step: Callable[[Step], None]) -> Outcome:
        """Search for minutes; Ctrl-C ends it with the best so far. Raises the error of defaults that fail."""
        runner = PairedRunner(self.workload, self._open, busy_process, room_for_two=self.room_for_two)
        try:
            return Tuner(self.space, runner, budget_s, on_step).run()
        finally:
            runner.close()

    def result(self, outcome: Outcome, others_cores: float) -> Result:
        """Return `outcome` as it is stored. Raises StoreError if the model's file is gone."""
        return Result(
            machine=self.machine,
            model=self.model,
            fingerprint=fingerprint(self.path),
            settings=outcome.best,
            defaults=self.space.defaults,
            gain=outcome.gain,
            gain_margin=outcome.gain_margin,
            noise=outcome.noise,
            confirmed=outcome.confirmed,
            workload=self.workload,
            figures=tuple(
                LoadFigure(
                    streams=load.streams,
                    busy=load.busy,
                    default_tokens_per_s=self.workload.tokens_per_second(load, seconds),
                    best_tokens_per_s=self.workload.tokens_per_second(load, outcome.best_s[load]),
                )
                for load, seconds in outcome.default_s.items()
                if load in outcome.best_s
            ),
            kv_quant_gain=outcome.kv_quant_gain,
            n_tried=len(outcome.trials),
            elapsed_s=outcome.elapsed_s,
            others_cores=others_cores,
            created=datetime.now(UTC).isoformat(timespec="seconds"),
            corral=VERSION,
        )

    def _open(self, settings: Settings) -> MeasuringProcess:
        options = options_for(self.workload, **as_options(settings))
        job = Job(path=str(self.path), options=options, spin_count=settings.spin_count)
        return MeasuringProcess(job, env=os.environ)


def plan_search(
    path: Path, model: str, machine: Machine, workload: Workload, *, allow_kv_quant: bool
) -> Search:
    """Return the search for this machine, which is examined for a second.

    Raises LlamaCppError if llama.cpp doesn't load, InvalidGGUF.
    """
    facts = ask()
    if not isinstance(facts, NativeFacts):
        raise LlamaCppError(f"llama.cpp {facts}; run `corral doctor`")
    gpu = any(device.is_gpu for device in facts.devices)
    site = Site(machine.cores, machine.threads, openmp="OPENMP" in facts.features, gpu=gpu)
    free_bytes = MEMORY_PART * memory().available_bytes
    return Search(
        path=path,
        model=model,
        machine=machine,
        site=site,
        space=space_for(site, allow_kv_quant=allow_kv_quant),
        workload=workload,
        # A GPU's memory is not looked at: there one at a time is the safe way.
        room_for_two=not gpu and 2 * candidate_bytes(path, workload) < free_bytes,
    )


def candidate_bytes(path: Path, workload: Workload) -> int:
    """Return the bytes that one candidate takes at most, its KV cache included. Raises InvalidGGUF."""
    options = options_for(workload, n_ubatch=max(N_UBATCH), flash_attn="off")
    assert options.ctx is not None
    return estimate_at(options.ctx, read_gguf_info(path), options, kv_unified=True).total


def options_for(workload: Workload, **values: Any) -> ServeOptions:
    """Return options with the context and the sequences that the workload needs; `values` are others."""
    ctx = pad_cells(workload.prompt_tokens + workload.output_tokens)
    return ServeOptions(ctx=ctx, parallel=max(workload.streams), **values)
