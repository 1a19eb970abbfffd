"""The options of `corral tune`: the search, and the workload that it makes fast."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from server.tuning.workload import Workload

TOKENS_MAX = 8192
"""A prompt or an answer of the workload has at most this many tokens."""


@dataclass(frozen=True, slots=True)
class SearchOptions:
    """The time, the workload and the choices of a search."""

    budget: Annotated[
        float, typer.Option(min=1, metavar="S", help="Seconds it may take, loading included.")
    ] = 180.0
    prompt_tokens: Annotated[
        int, typer.Option(min=1, max=TOKENS_MAX, metavar="N", help="The workload: tokens of a prompt.")
    ] = 64
    output_tokens: Annotated[
        int, typer.Option(min=1, max=TOKENS_MAX, metavar="N", help="The workload: tokens of an answer.")
    ] = 96
    streams: Annotated[
        list[int] | None,
        typer.Option(
            min=1, max=256, metavar="N", help="Requests at a time; may be given several times. [1 8]"
        ),
    ] = None
    contention: Annotated[
        float,
        typer.Option(
            min=0,
            max=1,
            metavar="X",
            help="How much speed beside another busy process counts; the rest: alone.",
        ),
    ] = 0.25
    allow_kv_quant: Annotated[
        bool,
        typer.Option("--allow-kv-quant", help="Also try a q8_0 KV cache, which changes answers a little."),
    ] = False
    anyway: Annotated[bool, typer.Option("--anyway", help="Measure although other processes are busy.")] = (
        False
    )

    def workload(self) -> Workload:
        """Return the workload that the search makes fast."""
        from server.tuning.workload import Workload

        return Workload(
            prompt_tokens=self.prompt_tokens,
            output_tokens=self.output_tokens,
            streams=tuple(sorted(set(self.streams or (1, 8)))),
            contention=self.contention,
        )
