"""The outcome of `corral quantize` for people and programs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict
from typing import Any

from models.machine.host_memory import memory
from quantize.imatrix.rare_experts import RareExpert, rare_experts, warning_of
from quantize.job.service import QuantizationOutcome
from server.cli.console import duration, plain_table, print_table, say, size
from server.cli.quantize.held_out import lines_of
from server.cli.quantize.plan_fit import fit_of_plan


def document_of(outcome: QuantizationOutcome, *, dry_run: bool, seconds: float) -> dict[str, Any]:
    """Return the files that were made, or would be, for JSON: one row per type."""
    document: dict[str, Any] = {
        "model": str(outcome.ref),
        "dry_run": dry_run,
        "types": list(outcome.types),
        "existing": list(outcome.existing),
        "files": [],
    }
    if outcome.download is not None:
        document["download_bytes"] = outcome.download.fetch_bytes
    if outcome.plan is not None:
        document["parameters"] = outcome.plan.n_parameters
        document["architecture"] = outcome.plan.architecture
        document["unused_tensors"] = list(outcome.plan.unused)
        document["memory_bytes"] = outcome.peak_bytes
        document |= _calibration_of(outcome)
        if outcome.plan.imatrix is not None:
            rare = rare_experts(outcome.plan.imatrix)
            document["rare_experts"] = [asdict(expert) for expert in rare]
    if dry_run:
        document["free_bytes"] = outcome.free_bytes
        document["fits_on_disk"] = outcome.fits
        document["files"] = _planned_rows(outcome)
    else:
        document["seconds"] = round(seconds, 3)
        document["resumed_tensors"] = outcome.resumed
        document["verified"] = list(outcome.verified)
        document["held_out"] = [verdict.document() for verdict in outcome.verdicts]
        document["files"] = _written_rows(outcome)
    return document


def print_document(document: dict[str, Any]) -> None:
    """Print a table of the files, and lines for all that is not in it."""
    if document.get("rare_experts"):
        say(f"warning: {warning_of([RareExpert(**expert) for expert in document['rare_experts']])}")
    if document["existing"]:
        say(f"here already: {', '.join(document['existing'])} (--force makes them again)")
    if "download_bytes" in document:
        say(f"{size(document['download_bytes'])} would be downloaded first; the plan needs them: corral pull")
        return
    if not document["files"]:
        return
    columns = ["TYPE", "SIZE", "BITS/W"]
    last = "FITS THIS MACHINE" if document["dry_run"] else "FILE"
    table = plain_table(*columns, last, right=("SIZE", "BITS/W"))
    for row in document["files"]:
        text = row["memory"] if document["dry_run"] else row["path"]
        table.add_row(row["type"], size(row["size_bytes"]), f"{row['bits_per_weight']:.2f}", text)
    print_table(table)
    if document["dry_run"]:
        total = sum(row["size_bytes"] for row in document["files"] if row["type"] not in document["existing"])
        fits = "fits" if document["fits_on_disk"] else "does NOT fit"
        say(f"{size(total)} in all: {fits} on the disk, {size(document['free_bytes'])} are free")
        say(f"making them takes up to {size(document['memory_bytes'])} of memory (--memory bounds it)")
        if document.get("check_room") is not None:
            say(
                f"the held-out check would take {size(document['check_bytes'])} of memory and may take "
                f"{size(document['check_room'])}: the loss won't be measured"
            )
        if "rounding_seconds" in document:
            say(f"estimated from small pieces, here it takes about {', '.join(_times(document))}")
    else:
        for name, reason in document.get("rounded_plainly", {}).items():
            say(f"rounded plainly: {name}: {reason}")
        for line in document["verified"]:
            say(f"streamed: {line}")
        for line in lines_of(document["held_out"]):
            say(line)
        say(f"{document['parameters']:,} parameters, made in {duration(document['seconds'])}")


def _calibration_of(outcome: QuantizationOutcome) -> dict[str, Any]:
    """Return what is to be said of a calibration, be its moments there yet or not; nothing where is none."""
    plan = outcome.plan
    if plan is None or not plan.is_calibrated:
        return {}
    document: dict[str, Any] = {}
    if plan.calibration is not None:
        document |= {"calibration": plan.calibration.label, "rounded_plainly": plan.calibration.plain}
    if outcome.check_bytes is not None:
        document["check_bytes"] = outcome.check_bytes
        if outcome.check_bytes > outcome.check_room:
            document["check_room"] = outcome.check_room
    if outcome.durations is not None:
        for step, seconds in asdict(outcome.durations).items():
            if seconds is not None:
                document[f"{step}_seconds"] = round(seconds, 1)
        document["collects_moments"] = plan.awaits_calibration
    return document


def _times(document: Mapping[str, Any]) -> Iterator[str]:
    """Yield the estimated times of a calibrated job's steps, in words."""
    for key, what in (
        ("collecting_seconds", "to collect the moments of the text"),
        ("rounding_seconds", "to round by them"),
        ("check_seconds", "for the held-out check"),
    ):
        if key in document:
            yield f"{duration(document[key])} {what}"


def _planned_rows(outcome: QuantizationOutcome) -> list[dict[str, Any]]:
    if outcome.plan is None:
        return []
    available = memory().available_bytes
    rows: list[dict[str, Any]] = []
    for file in outcome.plan.files:
        verdict = fit_of_plan(file, available)
        rows.append(
            {
                "type": file.type,
                "size_bytes": file.size_bytes,
                "bits_per_weight": round(file.bits_per_weight, 4),
                "fits": verdict.fits,
                "memory_bytes": verdict.needed_bytes,
                "memory": verdict.text,
            }
        )
    eyes = outcome.plan.projector
    if eyes is not None:
        rows.append(
            {
                "type": eyes.type,
                "size_bytes": eyes.size_bytes,
                "bits_per_weight": round(eyes.bits_per_weight, 4),
                "fits": None,
                "memory_bytes": None,
                "memory": "for all types: lets the model see",
            }
        )
    return rows


def _written_rows(outcome: QuantizationOutcome) -> list[dict[str, Any]]:
    return [
        {
            "type": file.type,
            "size_bytes": file.size_bytes,
            "bits_per_weight": round(file.bits_per_weight, 4),
            "tensors": file.tensor_count,
            "sha256": list(file.sha256),
            "path": str(file.path),
            "paths": [str(path) for path in file.paths],
        }
        for file in outcome.files
    ]
