"""`corral pull --what`: a model of the Hub is described before it is downloaded."""

from __future__ import annotations

from typing import Any

from models.machine.host_memory import memory
from models.reference import ModelRef
from models.store.store import ModelStore
from quantize.job.description import HubDescription, describe
from server.cli.console import plain_table, print_json, print_table, say, size
from server.cli.models.search import ROOM
from server.cli.quantize.plan_fit import fit_of_plan


def show_what(ref: ModelRef, store: ModelStore, *, as_json: bool) -> None:
    """Print what a model of the Hub is. Raises what `describe` raises."""
    document = document_of(describe(ref, store), memory().available_bytes)
    if as_json:
        print_json(document)
    else:
        _print(document)


def document_of(found: HubDescription, available_bytes: int) -> dict[str, Any]:
    """Return the description as JSON: a row for each type that there is or that can be made."""
    plan = found.plan
    ready = [
        {"type": type_, "ready": True, "size_bytes": n_bytes, "fits": n_bytes * ROOM <= available_bytes}
        for type_, n_bytes in found.ggufs.items()
    ]
    made = [
        {
            "type": file.type,
            "ready": False,
            "size_bytes": file.size_bytes,
            "fits": fit_of_plan(file, available_bytes).fits,
        }
        for file in (plan.files if plan is not None else ())
    ]
    eyes = plan.projector if plan is not None else None
    return {
        "repo": found.repo,
        "commit": found.commit,
        "license": found.license,
        "architectures": list(found.architectures),
        "family": found.family,
        "parameters": None if plan is None else plan.n_parameters,
        "weights_bytes": found.weights_bytes,
        "weights_form": found.weights_form,
        "projectors": list(found.projectors),
        "types": [*ready, *made],
        "projector": None if eyes is None else {"type": eyes.type, "size_bytes": eyes.size_bytes},
        "problem": found.problem,
    }


def _print(document: dict[str, Any]) -> None:
    table = plain_table("MODEL", document["repo"])
    parameters = document["parameters"]
    weights = "none"
    if document["weights_bytes"] is not None:
        form = f" ({document['weights_form']})" if document["weights_form"] else ""
        weights = f"{size(document['weights_bytes'])}{form}"
    rows = {
        "commit": document["commit"],
        "licence": document["license"] or "not said",
        "architecture": ", ".join(document["architectures"]) or "not said",
        "family": document["family"] or "not known here",
        "parameters": f"{parameters:,}" if parameters is not None else "not counted",
        "weights": weights,
        "projector": _projector_words(document),
    }
    for name, value in rows.items():
        table.add_row(name, value)
    print_table(table)
    if document["types"]:
        types = plain_table("TYPE", "SIZE", "", "FITS", right=("SIZE",))
        for row in document["types"]:
            how = "ready" if row["ready"] else "to be made"
            types.add_row(row["type"], size(row["size_bytes"]), how, "yes" if row["fits"] else "no")
        print_table(types)
    if document["problem"]:
        say(f"corral: {document['problem']}")
    usable = next((row["type"] for row in document["types"] if row["fits"] and row["type"] == "Q4_K_M"), None)
    if usable is not None:
        say(f"serve or talk to it: corral run {document['repo']}")


def _projector_words(document: dict[str, Any]) -> str:
    """Return the projectors that there are, and the one that can be made, in words."""
    words = [f"{name} (ready)" for name in document["projectors"]]
    if document["projector"] is not None:
        words.append(
            f"{document['projector']['type']}, {size(document['projector']['size_bytes'])} (to be made)"
        )
    return ", ".join(words) or "none"
