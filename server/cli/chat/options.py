"""The flags of a talk: `corral chat` and `corral run` have the same."""

from __future__ import annotations

from typing import Annotated

import typer

SEED_MAX = 2**32 - 2
"""llama.cpp's seeds have 32 bits, and it draws one for the largest."""

SystemOption = Annotated[str | None, typer.Option(metavar="TEXT", help="The system message.")]
"""`--system`."""
TemperatureOption = Annotated[
    float | None, typer.Option(min=0.0, metavar="X", help="0 always takes the likeliest token. [0.8]")
]
"""`--temperature`."""
MaxTokensOption = Annotated[
    int | None, typer.Option(min=1, metavar="N", help="Longest answer; not set: to the context's end.")
]
"""`--max-tokens`."""
SeedOption = Annotated[
    int | None, typer.Option(min=0, max=SEED_MAX, metavar="N", help="Makes the answers repeatable.")
]
"""`--seed`."""
