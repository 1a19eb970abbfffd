"""The table of clients: what each run came to, printed and kept in the docs. Pure but for `write_into`."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

BEGIN, END = "<!-- table: written by make clients -->", "<!-- end of table -->"
_HEAD = ("client", "version", "protocol", "requests", "result", "first failing thing")


@dataclass(frozen=True)
class Row:
    """One client's run."""

    client: str
    version: str
    protocol: str
    n_requests: int
    outcome: str
    failure: str = ""
    stage: str = "a"


def as_markdown(rows: Iterable[Row]) -> str:
    """Return the rows as a table, those of each stage in their order."""
    lines = [_line(_HEAD), _line(["---"] * len(_HEAD))]
    for row in rows:
        cells = (row.client, row.version, row.protocol, str(row.n_requests), row.outcome, row.failure or "–")
        lines.append(_line([cell.replace("|", r"\|").replace("\n", " ") for cell in cells]))
    return "\n".join(lines)


def _line(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cells)} |"


def write_into(page: Path, rows: Iterable[Row]) -> None:
    """Put the table between the page's two marks. Raises ValueError if they aren't there."""
    text = page.read_text(encoding="utf-8")
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"{page} lacks the marks {BEGIN} and {END}")
    page.write_text(f"{before}{begin}\n{as_markdown(rows)}\n{end}{after}", encoding="utf-8")
