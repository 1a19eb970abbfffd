"""Measurements as Markdown: medians and ranges per server, ratios round by round, aims. Pure."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from bench.loads import Load, Ratio
from bench.quiet import DISTURBED
from bench.rounds import Measurement
from bench.servers import CORRAL, IK

LABELS = {
    "tokens_per_s": "tok/s out",
    "total_tokens_per_s": "tok/s in and out",
    "first_token_s_p50": "first token p50, ms",
    "gap_s_p50": "gap p50, ms",
    "gap_s_p99": "gap p99, ms",
    "gap_s_longest": "gap longest, ms",
    "api_cpu_us": "API process, µs of CPU per token",
}


@dataclass(frozen=True, slots=True)
class Verdict:
    """One ratio of one load: per round, Corral over the better of its peers."""

    load: str
    figure: str
    peer: str
    ratios: tuple[float, ...]
    aim: float | None
    reached: bool | None

    @property
    def median(self) -> float:
        return statistics.median(self.ratios)

    def to_json(self) -> dict[str, Any]:
        return {
            "load": self.load,
            "figure": self.figure,
            "peer": self.peer,
            "median": self.median,
            "ratios": self.ratios,
            "aim": self.aim,
            "reached": self.reached,
        }


def ratios_to(measurements: Sequence[Measurement], peer: str, figure: str) -> list[float]:
    """Return Corral's figure over `peer`'s, for each round that has both."""
    ours = {
        one.round: one.figures[figure]
        for one in measurements
        if one.server == CORRAL and figure in one.figures
    }
    return [
        ours[one.round] / one.figures[figure]
        for one in measurements
        if one.server == peer and one.round in ours and one.figures.get(figure)
    ]


def better_peer(measurements: Sequence[Measurement], ratio: Ratio) -> str | None:
    """Return the peer with the better median of the figure; None if none has it.

    Of llama-server's two layouts the better one counts, and ik_llama.cpp only without either; other variants
    of Corral are no peers where there are any.
    """
    names = list(dict.fromkeys(one.server for one in measurements if one.server != CORRAL))
    others = [name for name in names if not name.startswith(CORRAL)]
    peers = [name for name in others if name != IK] or others or names
    medians = {
        name: statistics.median(values)
        for name in peers
        if (values := _values(measurements, name, ratio.figure))
    }
    if not medians:
        return None
    choose = min if ratio.lower_is_better else max
    return choose(medians, key=lambda name: medians[name])


def verdicts(load: Load, measurements: Sequence[Measurement]) -> list[Verdict]:
    """Return each of the load's ratios against the better peer."""
    here = [one for one in measurements if one.load == load.name]
    judged: list[Verdict] = []
    for ratio in load.ratios:
        peer = better_peer(here, ratio)
        values = ratios_to(here, peer, ratio.figure) if peer is not None else []
        if peer is not None and values:
            reached = ratio.reached(statistics.median(values))
            judged.append(Verdict(load.name, ratio.figure, peer, tuple(values), ratio.aim, reached))
    return judged


def load_section(load: Load, measurements: Sequence[Measurement]) -> str:
    """Return the section of one load, with a row per server."""
    here = [one for one in measurements if one.load == load.name]
    figures = list(dict.fromkeys([*(ratio.figure for ratio in load.ratios), "gap_s_p50"]))
    header = ["server", *(LABELS[name] for name in figures)]
    header += [f"Corral ÷ it: {LABELS[ratio.figure].partition(',')[0]}" for ratio in load.ratios]
    rows = [
        [
            name,
            *(_shown(_values(here, name, figure), figure) for figure in figures),
            *(_ratio_cell(here, name, ratio) for ratio in load.ratios),
        ]
        for name in dict.fromkeys(one.server for one in here)
    ]
    lines = [f"{load.title}:", "", _row(header), _row(["---"] + ["--:"] * (len(header) - 1))]
    lines += [_row(row) for row in rows]
    failed = [one for one in here if one.error is not None]
    lines += [f"\nFailed: round {one.round}, {one.server}: {one.error}" for one in failed]
    return "\n".join(lines)


def summary(loads: Iterable[Load], measurements: Sequence[Measurement]) -> str:
    """Return the table of all ratios that have an aim."""
    lines = [
        "| load | figure | Corral ÷ better peer | peer | rounds | aim | |",
        "| --- | --- | --: | --- | --: | --: | --- |",
    ]
    for load in loads:
        aims = {ratio.figure: ratio for ratio in load.ratios if ratio.aim is not None}
        for one in verdicts(load, measurements):
            if one.figure in aims:
                sign = "≤" if aims[one.figure].lower_is_better else "≥"
                lines.append(
                    f"| {load.name} | {LABELS[one.figure]} | {spread(one.ratios)} | {one.peer} "
                    f"| {len(one.ratios)} | {sign} {one.aim} | {'reached' if one.reached else 'missed'} |"
                )
    return "\n".join(lines)


def disturbances(measurements: Sequence[Measurement]) -> str:
    """Return a paragraph on the disturbances of the measurements."""
    disturbed = sum(one.disturbed for one in measurements)
    waited = sum({(one.load, one.round): one.waited_s for one in measurements}.values())
    failed = sum(one.error is not None for one in measurements)
    text = (
        f"{disturbed} of {len(measurements)} measurements had other work (over {DISTURBED:.0%} of the"
        f" machine) beside them; {waited:.0f} s were spent waiting for quiet."
    )
    return f"{text} {failed} failed." if failed else text


def spread(values: Sequence[float]) -> str:
    """Return median and range."""
    return f"{statistics.median(values):.2f} ({min(values):.2f}–{max(values):.2f})"


def _values(measurements: Sequence[Measurement], server: str, figure: str) -> list[float]:
    return [one.figures[figure] for one in measurements if one.server == server and figure in one.figures]


def _ratio_cell(measurements: Sequence[Measurement], server: str, ratio: Ratio) -> str:
    values = [] if server == CORRAL else ratios_to(measurements, server, ratio.figure)
    return spread(values) if values else "–"


def _shown(values: Sequence[float], figure: str) -> str:
    """Return median and range, times in milliseconds."""
    if not values:
        return "–"
    scale = 1000 if "_s_p" in figure or figure.endswith("_s_longest") else 1
    low, middle, high = (scale * f(values) for f in (min, statistics.median, max))
    return f"{middle:.1f} ({low:.1f}–{high:.1f})"


def _row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"
