"""`Check`: the result of a check, for people and programs."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Status(StrEnum):
    """The state that a check finds.

    `warning`: works, but slower or not for everything; `fail`: doesn't work.
    """

    OK = "ok"
    WARNING = "warning"
    FAIL = "fail"


@dataclass(frozen=True)
class Check:
    """The result of a check.

    `fact`: the finding, with its numbers; `fix`: the remedy, None when all is well.
    """

    name: str
    status: Status
    fact: str
    fix: str | None = None


def ok(name: str, fact: str) -> Check:
    return Check(name, Status.OK, fact)


def warning(name: str, fact: str, fix: str) -> Check:
    return Check(name, Status.WARNING, fact, fix)


def fail(name: str, fact: str, fix: str) -> Check:
    return Check(name, Status.FAIL, fact, fix)
