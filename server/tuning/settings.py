"""`Settings`: one choice of everything that `corral tune` may choose."""

from __future__ import annotations

from typing import Any, Literal

import msgspec

from server.ipc.launch import SPIN_COUNT
from server.serve_options import SERVE_SETTINGS

Value = int | bool | str


class Settings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Names and meanings are those of the server's settings, but for the last two."""

    threads: int
    threads_batch: int
    n_ubatch: int = 512
    use_extra_bufts: bool = True
    kernels: Literal["auto", "off"] = "auto"
    flash_attn: Literal["auto", "on", "off"] = "auto"
    kv_unified: bool = False
    spin_count: int = SPIN_COUNT
    """A waiting thread spins for this many turns before it sleeps."""
    kv_type: str = "f16"
    """The KV cache has this type: `type_k` and `type_v`."""


FIELDS: tuple[str, ...] = Settings.__struct_fields__
"""The names of the settings, in the order in which they are shown."""


def value_of(settings: Settings, name: str) -> Value:
    """Return one field's value."""
    value: Value = getattr(settings, name)
    return value


def as_options(settings: Settings) -> dict[str, Any]:
    """Return `settings` by the names of ServeOptions; the waiting policy is none of them."""
    options = {name: value_of(settings, name) for name in FIELDS if name in SERVE_SETTINGS}
    return {**options, "type_k": settings.kv_type, "type_v": settings.kv_type}


def with_values(settings: Settings, **values: Any) -> Settings:
    """Return `settings` with other values for some fields."""
    return msgspec.structs.replace(settings, **values)


def differences(settings: Settings, other: Settings) -> dict[str, Value]:
    """Return the fields of `settings` that differ from `other`'s."""
    return {
        name: value_of(settings, name) for name in FIELDS if value_of(settings, name) != value_of(other, name)
    }


def words(values: dict[str, Value]) -> str:
    """Return values in one line: `n_ubatch 256, flash_attn off`."""
    return ", ".join(f"{name} {value_text(value)}" for name, value in values.items()) or "the defaults"


def value_text(value: Value) -> str:
    """Return a value as people read it."""
    if isinstance(value, bool):
        return "on" if value else "off"
    return str(value)
