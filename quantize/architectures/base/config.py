"""Access to config.json by typed getters whose errors name the field; nothing is assumed silently."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Final

from models.errors import CheckpointError

_ABSENT: Final = object()
LARGEST_SIZE: Final = 2**31 - 1
"""A size is at most this large."""


class ModelConfig:
    """The fields of a config.json. Null counts as absent, as it does in transformers."""

    def __init__(self, fields: Mapping[str, Any], where: str = "config.json") -> None:
        self._fields = fields
        self._where = where

    def size(self, name: str, default: int | None = None) -> int:
        """Return a positive integer. Without `default` the field is required. Raises CheckpointError."""
        value = self.optional_size(name)
        if value is None:
            value = default
        if value is None:
            raise CheckpointError(f"{self._where} has no {name}, which this architecture needs; complete it")
        return value

    def optional_size(self, name: str) -> int | None:
        """Return a positive integer, None where there is none. Raises CheckpointError."""
        value = self._get(name)
        if value is None:
            return None
        if type(value) is not int or not 0 < value <= LARGEST_SIZE:
            raise self._wrong(name, value, f"a whole number from 1 to {LARGEST_SIZE}")
        return value

    def count(self, name: str, default: int) -> int:
        """Return a size that may be 0. Raises CheckpointError."""
        return 0 if self._get(name) == 0 else self.size(name, default)

    def number(self, name: str, default: float | None = None) -> float:
        """Return a finite number. Without `default` the field is required. Raises CheckpointError."""
        value = self.optional_number(name)
        if value is None:
            value = default
        if value is None:
            raise CheckpointError(f"{self._where} has no {name}, which this model needs; complete it")
        return value

    def optional_number(self, name: str) -> float | None:
        value = self._get(name)
        if value is None:
            return None
        if type(value) not in (int, float) or not math.isfinite(value):
            raise self._wrong(name, value, "a finite number")
        return float(value)

    def flag(self, name: str, default: bool) -> bool:
        value = self._get(name)
        if value is None:
            return default
        if type(value) is not bool:
            raise self._wrong(name, value, "true or false")
        return value

    def has(self, name: str) -> bool:
        """True if the field is there, and not null."""
        return self._get(name) is not None

    def text(self, name: str) -> str | None:
        value = self._get(name)
        if value is not None and not isinstance(value, str):
            raise self._wrong(name, value, "a string")
        return value

    def numbers(self, name: str) -> tuple[float, ...] | None:
        """Return a list of finite numbers; None where there is none. Raises CheckpointError."""
        value = self._get(name)
        if value is None:
            return None
        if not isinstance(value, list) or not all(
            type(item) in (int, float) and math.isfinite(item) for item in value
        ):
            raise self._wrong(name, value, "a list of finite numbers")
        return tuple(float(item) for item in value)

    def texts(self, name: str) -> tuple[str, ...] | None:
        """Return a list of strings; None where there is none. Raises CheckpointError."""
        value = self._get(name)
        if value is None:
            return None
        if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
            raise self._wrong(name, value, "a list of strings")
        return tuple(value)

    def numbered_texts(self, name: str) -> tuple[str, ...] | None:
        """Return the strings of an object by its numeric keys, in their order; None where there is none."""
        value = self._get(name)
        if value is None:
            return None
        if (
            not isinstance(value, dict)
            or not all(key.isdecimal() for key in value)
            or not all(isinstance(item, str) for item in value.values())
        ):
            raise self._wrong(name, value, "an object with numbers and strings")
        return tuple(value[key] for key in sorted(value, key=int))

    def raw(self, name: str) -> Any:
        """Return the field as it is, None where there is none, for comparing it with a value."""
        return self._get(name)

    def with_section(self, name: str) -> ModelConfig:
        """Return the configuration in which the fields of section `name`, if any, replace the outer ones."""
        inner = self.section(name)
        return self if inner is None else ModelConfig({**self._fields, **inner._fields}, self._where)

    def section(self, name: str) -> ModelConfig | None:
        """Return a nested object, whose errors say where it was; None where there is none."""
        value = self._get(name)
        if value is None:
            return None
        if not isinstance(value, dict):
            raise self._wrong(name, value, "an object")
        return ModelConfig(value, f"{name} in {self._where}")

    def architecture(self) -> str:
        """Return the first entry of `architectures`. Raises CheckpointError when there is none."""
        names = self._get("architectures")
        if not isinstance(names, list) or not names or not isinstance(names[0], str):
            raise CheckpointError(
                f"{self._where} doesn't say its architecture ({names!r}); complete `architectures`"
            )
        return names[0]

    def _get(self, name: str) -> Any:
        value = self._fields.get(name, _ABSENT)
        return None if value is _ABSENT else value

    def _wrong(self, name: str, value: Any, expected: str) -> CheckpointError:
        shown = repr(value)
        shown = shown if len(shown) <= 60 else shown[:57] + "..."
        return CheckpointError(f"{name} in {self._where} is {shown}; it must be {expected}")
