"""The command `corral pull`."""

from __future__ import annotations

import time
from typing import Annotated

import typer


def command(
    reference: Annotated[
        str, typer.Argument(metavar="REF", help="org/name, @revision and :TYPE if you like.")
    ],
    include: Annotated[
        list[str] | None,
        typer.Option(metavar="GLOB", help="Only files that match; may be given several times."),
    ] = None,
    what: Annotated[
        bool,
        typer.Option(
            "--what", help="Only tell what it is: licence, family, forms, sizes of types, what fits."
        ),
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Download a model's weights, or a ready GGUF, from the Hub.

    Files go to the Hugging Face cache, which is shared with other tools. What is there already is not fetched
    again, what was begun is resumed, and every file's sha256 is checked against the Hub's. A ready GGUF can
    then be served, and comes with its projector (mmproj) if there is one; weights are for `corral quantize`.
    With --what it is not downloaded: model card,
    configuration, tokenizer and the headers of the weights are read.
    """
    from models.errors import ConfigError
    from models.hub import download
    from models.hub.link_download import link_download
    from models.paths import Paths
    from models.store.store import ModelStore
    from server.cli.console import duration, print_json, say, size
    from server.cli.progress import byte_progress
    from server.cli.reference import stored_reference

    paths = Paths.from_environment()
    store = ModelStore(paths)
    ref = stored_reference(reference, store, "last part")
    if what:
        from server.cli.models.what import show_what

        if include:
            raise ConfigError("--include chooses files to download, and --what downloads none; leave one out")
        show_what(ref, store, as_json=as_json)
        return
    began = time.monotonic()
    plan = download.plan(ref, include, paths=paths)
    here = f", {size(plan.cached_bytes)} of it here already" if plan.cached_bytes else ""
    say(f"{plan.repo}@{plan.commit[:8]}: {len(plan.files)} files, {size(plan.total_bytes)}{here}")
    with byte_progress("download") as update:
        snapshot = download.run(plan, lambda p: update(p.bytes_done, p.bytes_total), paths=paths)
    model = link_download(plan, ref, store)
    say(f"done in {duration(time.monotonic() - began)}: {snapshot}")
    if model is not None and model.projector is not None:
        say(f"with its projector, {model.projector.name}: it sees pictures")
    if model is not None:
        say(f"serve it: corral serve {ref.with_type(plan.type)}")
    if as_json:
        print_json(
            {
                "repo": plan.repo,
                "commit": plan.commit,
                "kind": plan.kind,
                "type": plan.type,
                "snapshot": str(snapshot),
                "projector": None if model is None or model.projector is None else str(model.projector),
                "files": [{"path": file.path, "size_bytes": file.size_bytes} for file in plan.files],
                "total_bytes": plan.total_bytes,
            }
        )
