"""The memory that a file will take that `corral quantize --dry-run` plans."""

from __future__ import annotations

from models.machine.fit import Verdict
from quantize.plan.plan import PlannedFile
from quantize.plan.planned_model import PlannedModel
from server.placement.facts import FreeMemory, ModelFacts
from server.placement.place import place
from server.serve_options import ServeOptions


def fit_of_plan(file: PlannedFile, available_bytes: int) -> Verdict:
    """Judge if the file, once made, can be served on this machine's host memory with the default settings."""
    facts = ModelFacts(PlannedModel(file))
    return place(facts, ServeOptions(), FreeMemory(available_bytes)).wanted_verdict
