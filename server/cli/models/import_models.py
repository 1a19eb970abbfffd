"""The command `corral import`."""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from models.imports.candidate import Candidate
    from models.imports.importer import Outcome


class ProgramName(StrEnum):
    """A program whose models can be imported."""

    ollama = "ollama"
    lm_studio = "lm-studio"


def command(
    program: Annotated[ProgramName, typer.Argument(metavar="ollama|lm-studio", help="The other program.")],
    names: Annotated[
        list[str] | None,
        typer.Argument(metavar="NAME", help="Its models, as it calls them; without any, all of them."),
    ] = None,
    folder: Annotated[
        Path | None,
        typer.Option(
            "--from", metavar="DIR", help="The program's folder, where it isn't in its usual place."
        ),
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would be done.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Take over models of Ollama or LM Studio, without a copy.

    They must be on this disk. Each file's sha256 is checked, and that llama.cpp loads it. The store gets a
    hard link to the file, which stays when the other program deletes its own; on another disk, or where the
    file's owner is another one, a reference to it. Files of the other program are never changed or removed.
    What isn't taken over is said: parameters, system messages, templates. A model that can't be
    served is refused, with the reason.
    """
    from models.imports.importer import Importer
    from models.imports.selection import select
    from models.paths import Paths
    from models.store.store import ModelStore
    from server.cli.console import print_json
    from server.cli.progress import byte_progress

    chosen = select(_candidates(program, folder), names or ())
    total = sum(one.size_bytes for one in chosen)
    outcomes: list[Outcome] = []
    with byte_progress("verify") as update:
        done = 0

        def on_bytes(n_bytes: int) -> None:
            nonlocal done
            done += n_bytes
            update(done, total)

        importer = Importer(ModelStore(Paths.from_environment()), on_bytes)
        for candidate in chosen:
            before = done
            outcome = (importer.plan if dry_run else importer.run)(candidate)
            if outcome.state != "imported":
                done, total = before, total - candidate.size_bytes
            outcomes.append(outcome)
            _tell(outcome)
    if as_json:
        print_json([outcome.document() for outcome in outcomes])
    _end(outcomes, named=bool(names))


def _candidates(program: ProgramName, folder: Path | None) -> list[Candidate]:
    import os

    from models.imports.lm_studio import lm_studio_candidates, lm_studio_folders
    from models.imports.ollama import ollama_candidates, ollama_folder

    home = Path.home()
    if program is ProgramName.ollama:
        return ollama_candidates(ollama_folder(folder, os.environ, home))
    return [one for place in lm_studio_folders(folder, home) for one in lm_studio_candidates(place)]


def _tell(outcome: Outcome) -> None:
    from server.cli.console import say, size

    title = outcome.candidate.label
    match outcome.state:
        case "imported":
            how = "a hard link" if outcome.link == "hard" else "a reference"
            say(f"{title}: {outcome.model}, {size(outcome.candidate.size_bytes)}, {how} to {_first(outcome)}")
        case "planned":
            say(f"{title}: would be {outcome.model}, {size(outcome.candidate.size_bytes)}")
        case "here":
            say(f"{title}: {outcome.model} is here already")
        case "refused":
            say(f"{title}: refused: {outcome.problem}")
    for remark in outcome.remarks:
        say(f"  {remark}")


def _first(outcome: Outcome) -> Path:
    return outcome.candidate.parts[0].path


def _end(outcomes: Sequence[Outcome], *, named: bool) -> None:
    """Say what to do next; fail if a named model was refused, or each."""
    from server.cli.console import say
    from server.cli.program import FAILED

    usable = [outcome for outcome in outcomes if outcome.state != "refused"]
    if any(outcome.state == "imported" for outcome in outcomes):
        say(f"serve it: corral serve {usable[0].model}")
    if outcomes and (not usable or (named and len(usable) < len(outcomes))):
        raise typer.Exit(FAILED)
