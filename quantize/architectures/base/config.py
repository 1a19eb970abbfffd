"""Access to config.json by typed getters whose errors name the field; absent and null are two things."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import Any, Final, TypeVar

from models.errors import CheckpointError

T = TypeVar("T")

LARGEST_SIZE: Final = 2**31 - 1
"""A size is at most this large."""

LARGEST_NUMBER: Final = 3.4028234e38
"""Numbers are written with 32 bits, and so have at most this size."""

OUTER: Final = ("architectures", "tie_word_embeddings")
"""The fields of a model of several parts that the text model's own section doesn't replace."""


class ModelConfig:
    """The fields of a config.json. An absent field is its default; null is what the family's class says.

    The getters of values that a model can't be without refuse null, as the classes do; the `optional_` ones
    return None for it, whatever their default is, and the family says what follows. So `num_key_value_heads`
    is 8 for a Mistral that doesn't say it, and the number of heads where it is null.
    """

    def __init__(self, fields: Mapping[str, Any], where: str = "config.json") -> None:
        self._fields = fields
        self._where = where

    def with_aliases(self, aliases: Mapping[str, str]) -> ModelConfig:
        """Return the configuration in which fields under an alias replace those under their own names."""
        present = {own: self._fields[alias] for alias, own in aliases.items() if alias in self._fields}
        return ModelConfig({**self._fields, **present}, self._where) if present else self

    def first(self, names: Iterable[str]) -> str | None:
        """Return the first of `names` that config.json has, null or not; None where it has none."""
        return next((name for name in names if name in self._fields), None)

    def refuse_null(self, names: Iterable[str]) -> None:
        """Check that no field of `names` is null. Raises CheckpointError."""
        for name in names:
            if name in self._fields:
                self._required(name, self._get(name))

    def has_other_than(self, names: Iterable[str]) -> bool:
        """True if there is a field, null or not, that isn't one of `names`."""
        return not set(self._fields) <= set(names)

    def size(self, name: str, default: int | None = None) -> int:
        """Return a positive integer. Without `default` the field is required. Raises CheckpointError."""
        return self._required(name, self.optional_size(name, default))

    def optional_size(self, name: str, default: int | None = None) -> int | None:
        """Return a positive integer, None for null. Raises CheckpointError."""
        value = self._get(name, default)
        if value is None:
            return None
        if type(value) is not int or not 0 < value <= LARGEST_SIZE:
            raise self._wrong(name, value, f"a whole number from 1 to {LARGEST_SIZE}")
        return value

    def count(self, name: str, default: int) -> int:
        """Return a size that may be 0. Raises CheckpointError."""
        return 0 if self._get(name, default) == 0 else self.size(name, default)

    def number(self, name: str, default: float | None = None) -> float:
        """Return a finite number. Without `default` the field is required. Raises CheckpointError."""
        return self._required(name, self.optional_number(name, default))

    def optional_number(self, name: str, default: float | None = None) -> float | None:
        """Return a finite number, None for null. Raises CheckpointError."""
        value = self._get(name, default)
        if value is None:
            return None
        if not _is_number(value):
            raise self._wrong(name, value, "a finite number of 32 bits")
        return float(value)

    def divisor(self, name: str, default: float) -> float:
        """Return a finite number other than 0. Raises CheckpointError."""
        value = self.number(name, default)
        if not value:
            raise self._wrong(name, value, "a number other than 0, as others are divided by it")
        return value

    def flag(self, name: str, default: bool) -> bool:
        """Return true or false. Raises CheckpointError."""
        return self._required(name, self._flag(name, default))

    def optional_flag(self, name: str, default: bool) -> bool:
        """Return true or false; null is false, as in Python. Raises CheckpointError."""
        return bool(self._flag(name, default))

    def _flag(self, name: str, default: bool) -> bool | None:
        value = self._get(name, default)
        if value is not None and type(value) is not bool:
            raise self._wrong(name, value, "true or false")
        return value

    def has(self, name: str) -> bool:
        """True if the field is there, and not null."""
        return self._get(name) is not None

    def text(self, name: str, default: str | None = None) -> str:
        """Return a string. Without `default` the field is required. Raises CheckpointError."""
        return self._required(name, self.optional_text(name, default))

    def optional_text(self, name: str, default: str | None = None) -> str | None:
        """Return a string, None for null. Raises CheckpointError."""
        value = self._get(name, default)
        if value is not None and not isinstance(value, str):
            raise self._wrong(name, value, "a string")
        return value

    def numbers(self, name: str) -> tuple[float, ...] | None:
        """Return a list of finite numbers; None where there is none. Raises CheckpointError."""
        value = self._get(name)
        if value is None:
            return None
        if not isinstance(value, list) or not all(map(_is_number, value)):
            raise self._wrong(name, value, "a list of finite numbers of 32 bits")
        return tuple(float(item) for item in value)

    def bounds(self, name: str, count: int) -> tuple[float, ...] | None:
        """Return a list of finite numbers, 0 for null, cut or filled up with 0 to `count`; None without one.

        Raises CheckpointError.
        """
        value = self._get(name)
        if value is None:
            return None
        if not isinstance(value, list) or not all(item is None or _is_number(item) for item in value):
            raise self._wrong(name, value, "a list of finite numbers of 32 bits, null for no bound")
        return tuple(float(item or 0) for item in value[:count]) + (0.0,) * (count - len(value))

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

    def with_section(self, name: str, kept: Collection[str] = ()) -> ModelConfig:
        """Return section `name`, if there is one, for the whole; of the rest OUTER and `kept` remain."""
        inner = self.section(name)
        if inner is None:
            return self
        outer = {name: value for name, value in self._fields.items() if name in OUTER or name in kept}
        return ModelConfig({**inner._fields, **outer}, self._where)

    def under(self, other: ModelConfig | None) -> ModelConfig:
        """Return the fields with those of `other`, if there is one, laid over them."""
        return self if other is None else ModelConfig({**self._fields, **other._fields}, self._where)

    def over(self, defaults: Mapping[str, Any]) -> ModelConfig:
        """Return the fields laid over `defaults`."""
        return ModelConfig({**defaults, **self._fields}, self._where)

    def section(self, name: str) -> ModelConfig | None:
        """Return a nested object, whose errors say where it was; None where there is none."""
        value = self._get(name)
        if value is None:
            return None
        if not isinstance(value, dict):
            raise self._wrong(name, value, "an object")
        return ModelConfig(value, f"{name} in {self._where}")

    def sections(self, name: str) -> tuple[ModelConfig, ...]:
        """Return the objects of a list, whose errors say where they were. Raises CheckpointError."""
        value = self._get(name)
        if not isinstance(value, list) or not all(isinstance(item, dict) for item in value):
            raise self._wrong(name, value, "a list of objects")
        return tuple(ModelConfig(item, f"{name}[{at}] in {self._where}") for at, item in enumerate(value))

    def architecture(self) -> str:
        """Return the first entry of `architectures`. Raises CheckpointError when there is none."""
        names = self._get("architectures")
        if not isinstance(names, list) or not names or not isinstance(names[0], str):
            raise CheckpointError(
                f"{self._where} doesn't say its architecture ({names!r}); complete `architectures`"
            )
        return names[0]

    def _get(self, name: str, default: Any = None) -> Any:
        """Return a field as it is, None for null, and `default` where there is none."""
        return self._fields.get(name, default)

    def _required(self, name: str, value: T | None) -> T:
        if value is not None:
            return value
        if name in self._fields:
            raise CheckpointError(
                f"{self._where} has {name} null, which this model can't be computed with; "
                "write its value, or leave the field out if the model has the usual one"
            )
        raise CheckpointError(f"{self._where} has no {name}, which this model needs; complete it")

    def _wrong(self, name: str, value: Any, expected: str) -> CheckpointError:
        shown = repr(value)
        shown = shown if len(shown) <= 60 else shown[:57] + "..."
        return CheckpointError(f"{name} in {self._where} is {shown}; it must be {expected}")


def _is_number(value: Any) -> bool:
    """Tell whether a value is a number that fits a float of 32 bits; JSON has whole ones of any length."""
    return type(value) in (int, float) and abs(value) <= LARGEST_NUMBER
