"""The command `corral tune`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from server.cli.option_groups import with_option_groups
from server.cli.tune.options import SearchOptions

if TYPE_CHECKING:
    from models.store.store import ModelStore
    from server.supervisor.catalogue import CatalogueEntry
    from server.tuning.result_store import ResultStore
    from server.tuning.service import Search
    from server.tuning.tuner import Outcome


@with_option_groups
def command(
    reference: Annotated[
        str, typer.Argument(metavar="REF", help="org/name:TYPE, a .gguf file, demo; obtained if missing.")
    ],
    *,
    options: SearchOptions,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only show what would be searched.")] = False,
    show: Annotated[bool, typer.Option("--show", help="Only show what is kept for this model.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Measure what makes serving fastest on this machine, and keep it.

    Threads, repacked weights, how threads wait, the cache's layout, batch sizes and flash attention are tried
    for this model, each choice in a process of its own and beside the best so far. One is kept only if it is
    faster by more than the noise. The machine must be quiet meanwhile. Ctrl-C keeps the best so
    far, but for an earlier result, which only a checked one replaces.

    `corral serve` and `corral chat` use the result wherever flags, environment and settings file leave the
    choice open; `corral show` tells of it.
    """
    from models.errors import ConfigError
    from models.paths import Paths
    from models.store.store import ModelStore
    from server.cli.console import print_json
    from server.cli.reference import stored_reference
    from server.cli.tune.progress import print_space, space_document
    from server.tuning.result_store import results_here
    from server.tuning.service import plan_search

    if show and dry_run:
        raise ConfigError("--show tells what is kept, --dry-run what would be searched; give one of them")
    paths = Paths.from_environment()
    store = ModelStore(paths)
    entry = _entry(stored_reference(reference, store), store, make=not (show or dry_run))
    results = results_here(paths.tuning_dir)
    if show:
        _show(reference, entry, results, as_json=as_json)
        return
    search = plan_search(
        entry.path,
        _label(entry),
        results.machine,
        options.workload(),
        allow_kv_quant=options.allow_kv_quant,
    )
    if not dry_run:
        _run(search, results, options, as_json=as_json)
    elif as_json:
        print_json(space_document(search))
    else:
        print_space(search)


def _entry(ref: object, store: ModelStore, *, make: bool) -> CatalogueEntry:
    """Return the file that `corral serve REF` would serve; one that isn't here is made only with `make`."""
    from models.reference import ModelRef
    from quantize.job.ensure_model import best_type
    from server.cli.ensure_model import ensure_entry
    from server.config import ServerConfig
    from server.supervisor.catalogue import file_entry, store_entry

    assert isinstance(ref, ModelRef)
    default_type = ServerConfig().default_type
    if make:
        return ensure_entry(ref, store, default_type)
    if ref.path is not None and ref.path.is_file():
        return file_entry(ref.path)
    model = store.get(ref)
    return store_entry(model, model.types[ref.type or best_type(model, default_type)])


def _label(entry: CatalogueEntry) -> str:
    """Return a name with a type: a file's name often has its type."""
    return entry.name if entry.type and entry.name.endswith(entry.type) else entry.key


def _show(reference: str, entry: CatalogueEntry, results: ResultStore, *, as_json: bool) -> None:
    from models.errors import ModelNotFound
    from server.cli.console import print_json
    from server.cli.tune.report import print_result, result_document

    result = results.find(entry.path)
    if result is None:
        raise ModelNotFound(
            f"nothing is kept for {_label(entry)} on this machine; run: corral tune {reference}"
        )
    if as_json:
        print_json(result_document(result))
    else:
        print_result(result)


def _run(search: Search, results: ResultStore, options: SearchOptions, *, as_json: bool) -> None:
    """Search, keep the result and print it. Interrupted, keep a better one or say it, and exit with 130.

    Raises CorralError if the machine isn't quiet, unless it is measured anyway.
    """
    from models.errors import CorralError
    from server.cli.console import print_json, say
    from server.cli.program import INTERRUPTED
    from server.cli.tune.progress import search_progress
    from server.cli.tune.report import print_result, result_document
    from server.tuning.busy import BUSY_CORES, cores_in_use

    others_cores = cores_in_use()
    if others_cores > BUSY_CORES and not options.anyway:
        raise CorralError(
            f"other processes use {others_cores:.1f} of {search.machine.threads} cores, and what is fastest"
            " beside them is slow without them; stop them, or say --anyway if this machine is always so busy"
        )
    with search_progress(search.space, options.budget) as on_step:
        outcome = search.run(options.budget, on_step)
    if outcome.interrupted and not worth_keeping(outcome, search, results):
        raise typer.Exit(INTERRUPTED)
    result = search.result(outcome, others_cores)
    path = results.save(result)
    if as_json:
        print_json(result_document(result, outcome))
    else:
        print_result(result, outcome)
    say(f"kept in {path}; `corral serve` and `corral chat` use it")
    if outcome.interrupted:
        raise typer.Exit(INTERRUPTED)


def worth_keeping(outcome: Outcome, search: Search, results: ResultStore) -> bool:
    """True if the result of an interrupted search is to be kept; otherwise say why not.

    An earlier result isn't replaced by one that was never checked against the defaults.
    """
    from server.cli.console import say
    from server.cli.tune.report import settings_gain

    earlier = results.find(search.path)
    stays = f"; what was kept on {earlier.created[:10]} stays" if earlier else ", and nothing is kept"
    if outcome.best == search.space.defaults:
        say(f"interrupted: nothing better than the defaults was found yet{stays}")
        return False
    if earlier and not outcome.confirmed:
        say(f"interrupted: {settings_gain(outcome.best, search.space.defaults, outcome.gain)} so far{stays}")
        return False
    return True
