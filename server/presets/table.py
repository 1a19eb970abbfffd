"""`PresetTable`: all presets of the settings, and the choice of the arm that serves a request. Pure.

It is made as a whole (`server.presets.read`) and never changed: a reload makes another one. It travels to the
processes that read large bodies, so everything here is a struct.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from functools import lru_cache
from typing import Any, Literal

import msgspec

SystemMode = Literal["prepend", "replace", "default"]
"""`prepend`: before the client's own system prompt; `replace`: in its place; `default`: without one."""


class Layer(msgspec.Struct, frozen=True, kw_only=True):
    """The changes that a preset, or an arm, makes to a request. Parameters have chat completions' names."""

    name: str
    """The preset's name, or that of preset and arm."""
    force: dict[str, Any] = {}
    default: dict[str, Any] = {}
    strip: tuple[str, ...] = ()
    system: str | None = None
    system_mode: SystemMode = "prepend"

    @property
    def is_empty(self) -> bool:
        """True if it leaves every request as it is."""
        return not (self.force or self.default or self.strip or self.system)


class Target(msgspec.Struct, frozen=True, kw_only=True):
    """A model that serves a preset, by way of the layers."""

    arm: str
    """The arm's name; empty where the preset has only this target."""
    share: float
    """Its share of the requests; all targets of a preset have 1 together."""
    model: str
    layers: tuple[Layer, ...] = ()
    """The layers in the order in which they change a request: those of the name that was asked for first."""
    adapters: dict[str, float] = {}
    """LoRA adapters by name, and their scales; none: the model's defaults."""
    place: str = ""
    """The place in the settings that names the model."""


class Preset(msgspec.Struct, frozen=True, kw_only=True):
    """One name for requests."""

    name: str
    description: str = ""
    sticky: bool = True
    """True: the same user of the same key gets the same arm."""
    targets: tuple[Target, ...]

    @property
    def main(self) -> Target:
        """The target with the largest share: it stands for the preset where no request is served."""
        return max(self.targets, key=lambda target: target.share)

    def target_of(self, owner: str, user: str, draw: float) -> Target:
        """Return the target of a request by a key's owner and one of its users.

        Where neither is known, or the preset isn't sticky, `draw`, from 0 to 1, decides.
        """
        if len(self.targets) == 1:
            return self.targets[0]
        if not self.sticky or not (owner or user):
            return self._drawn(draw)
        return min(self.targets, key=lambda target: _distance(target, self.name, owner, user))

    def label(self, target: Target) -> str:
        """Return the name of a target in figures and logs."""
        return f"{self.name}/{target.arm}" if target.arm else self.name

    def _drawn(self, draw: float) -> Target:
        for target in self.targets:
            draw -= target.share
            if draw < 0:
                return target
        return self.targets[-1]


def _distance(target: Target, *identity: str) -> float:
    """Return an exponential variable of the rate `share`, made of the names: the least one wins.

    That is rendezvous hashing: arms win by their shares, and who changes arms when a share changes, or an arm
    comes or goes, changes to those that grew (Thaler and Ravishankar 1998).
    """
    hashed = hashlib.blake2b(digest_size=8)
    for part in (*identity, target.arm):
        encoded = part.encode("utf-8", "surrogatepass")
        hashed.update(len(encoded).to_bytes(8, "little") + encoded)
    uniform = (int.from_bytes(hashed.digest(), "little") + 1) / 2.0**64
    return -math.log(uniform) / target.share if target.share else math.inf  # a tiny weight's part rounds to 0


class PresetTable(msgspec.Struct, frozen=True):
    """The presets, by their names."""

    presets: dict[str, Preset] = {}

    def find(self, name: str) -> Preset | None:
        """Return the preset of that name, or None."""
        return self.presets.get(name)

    def models(self) -> Sequence[Target]:
        """Return every target of every preset."""
        return [target for preset in self.presets.values() for target in preset.targets]

    def encoded(self) -> bytes:
        """Return the table as a reader of bodies gets it; empty for an empty one."""
        return msgspec.msgpack.encode(self) if self.presets else b""


class Choice(msgspec.Struct, frozen=True, kw_only=True):
    """The outcome of a request for a preset."""

    preset: str
    label: str
    model: str
    """The name of the model that serves it."""
    adapters: dict[str, float] = {}
    notes: tuple[str, ...] = ()
    """Sentences for the log about what of the request was changed."""


@lru_cache(maxsize=4)
def decoded(table: bytes) -> PresetTable:
    """Return the table that `encoded` wrote."""
    return msgspec.msgpack.decode(table, type=PresetTable)
