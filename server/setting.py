"""`Bounds` and `setting`: how a field of the settings' dataclasses tells its limits, default and help."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any


@dataclass(frozen=True, slots=True)
class Bounds:
    """The limits of a number, checked by pydantic where a user gives it; None: no limit."""

    ge: float | None = None
    gt: float | None = None
    le: float | None = None
    allow_inf_nan: bool = False

    def __get_pydantic_core_schema__(
        self, source: Any, handler: Callable[[Any], dict[str, Any]]
    ) -> dict[str, Any]:
        schema = handler(source)
        if schema["type"] == "float":
            schema["allow_inf_nan"] = self.allow_inf_nan
        limits = {"ge": self.ge, "gt": self.gt, "le": self.le}
        return {**schema, **{name: limit for name, limit in limits.items() if limit is not None}}


def setting(default: Any, description: str) -> Any:
    """A field with its default and the help text of its flag."""
    return dataclasses.field(default=default, metadata={"description": description})


Positive = Annotated[int, Bounds(ge=1)]
