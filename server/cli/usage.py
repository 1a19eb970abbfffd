"""The command `corral usage`."""

from __future__ import annotations

from typing import Annotated

import typer


def command(
    by: Annotated[
        str,
        typer.Option(metavar="GROUPS", help="What is summed up by: key, model, day, separated by commas."),
    ] = "key,model,day",
    *,
    since: Annotated[
        str | None, typer.Option(metavar="SPAN|DATE", help="First day: 7d, 2026-01-31.  [default: all]")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    as_csv: Annotated[bool, typer.Option("--csv", help="Print CSV.")] = False,
) -> None:
    """Show who used which model, and how many tokens it took.

    Servers count every answer per key, model and day (UTC); whether one runs now doesn't matter.
    """
    import csv
    import sys
    import time

    import msgspec

    from models.errors import ConfigError
    from models.paths import Paths
    from server.cli.console import plain_table, print_json, print_table, say
    from server.keys.times import read_first_day
    from server.usage.database import UsageDatabase
    from server.usage.entry import GROUPS

    groups = [group for group in GROUPS if group in {part.strip() for part in by.split(",")}]
    for part in filter(None, (part.strip() for part in by.split(","))):
        if part not in GROUPS:
            raise ConfigError(f"--by has {part!r}; it takes {', '.join(GROUPS)}")
    if as_json and as_csv:
        raise ConfigError("--json and --csv are two forms; give one of them")
    first_day = "" if since is None else read_first_day(since, time.time(), "--since")
    path = Paths.from_environment().usage_file
    entries = []
    if path.exists():
        database = UsageDatabase(path)
        entries = database.totals(groups, first_day)
        database.close()
    names = [*groups, "requests", "errors", "prompt_tokens", "cached_tokens", "completion_tokens", "seconds"]
    if as_json:
        print_json([msgspec.structs.asdict(entry) for entry in entries])
    elif as_csv:
        writer = csv.writer(sys.stdout)
        writer.writerow(names)
        writer.writerows([getattr(entry, name) for name in names] for entry in entries)
    elif not entries:
        say(f"no usage in {path}" if first_day == "" else f"no usage since {first_day} in {path}")
    else:
        titles = {"prompt_tokens": "PROMPT", "cached_tokens": "CACHED", "completion_tokens": "COMPLETION"}
        columns = [titles.get(name, name.upper()) for name in names]
        table = plain_table(*columns, right=tuple(columns[len(groups) :]))
        for entry in entries:
            cells = [getattr(entry, name) for name in names]
            table.add_row(
                *(f"{cell:,.0f}" if isinstance(cell, int | float) else cell or "-" for cell in cells)
            )
        print_table(table)
