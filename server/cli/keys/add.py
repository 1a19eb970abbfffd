"""The command `corral keys add`."""

from __future__ import annotations

from typing import Annotated

import typer


def command(
    name: Annotated[
        str, typer.Argument(metavar="NAME", help="Name of the key: a person, a team or a program.")
    ],
    *,
    scope: Annotated[
        list[str] | None,
        typer.Option(
            metavar="SCOPE",
            help="Right of the key, may be repeated: infer, embed, models, admin, metrics."
            "  [default: infer, embed, models]",
        ),
    ] = None,
    model: Annotated[
        list[str] | None,
        typer.Option(
            metavar="GLOB", help="Model that it may use, may be repeated: org/*, *:Q4_K_M.  [default: all]"
        ),
    ] = None,
    rpm: Annotated[int | None, typer.Option(metavar="N", help="Requests per minute.")] = None,
    tpm: Annotated[
        int | None, typer.Option(metavar="N", help="Tokens per minute, of prompts and of answers together.")
    ] = None,
    streams: Annotated[int | None, typer.Option(metavar="N", help="Answers at the same time.")] = None,
    expires: Annotated[
        str | None, typer.Option(metavar="SPAN|DATE", help="End of the key: 30d, 12h, 2026-12-31.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Add a named API key, and print it: it can't be shown again.

    A running server takes it at once, and asks everyone for a key from the first one on.
    """
    import time

    from server.cli.keys.output import key_file, print_secret
    from server.keys.caller import KeyLimits
    from server.keys.key import check_limit, check_models, check_scopes
    from server.keys.times import read_moment

    limits = KeyLimits(
        requests_per_minute=check_limit(rpm, "--rpm"),
        tokens_per_minute=check_limit(tpm, "--tpm"),
        streams=check_limit(streams, "--streams"),
    )
    key, secret = key_file().add(
        name,
        check_scopes(scope or ()),
        check_models(model or ()),
        limits,
        None if expires is None else read_moment(expires, time.time(), "--expires"),
    )
    print_secret(key, secret, as_json=as_json)
