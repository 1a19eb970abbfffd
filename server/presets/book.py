"""`PresetBook`: the presets of a running server, which a reload replaces as a whole."""

from __future__ import annotations

import difflib
import logging
from collections.abc import Callable, Sequence

import msgspec

from models.errors import ConfigError, ModelNotFound
from server.presets.table import Preset, PresetTable
from server.supervisor.protocol import ModelStatus

logger = logging.getLogger("corral.presets")

_GOLDEN = 2_654_435_769
"""The golden ratio's part of 2³²: its multiples, modulo that, fall evenly, and so do every n-th."""


class PresetBook:
    """The table of this moment. A request that was read by an older one keeps what was chosen there."""

    def __init__(self, table: PresetTable) -> None:
        self.table = table
        self.encoded = table.encoded()
        self._n_draws = 0

    def draw(self) -> float:
        """Return the next of a series of numbers from 0 to 1 that fill the space evenly."""
        self._n_draws += 1
        return (self._n_draws * _GOLDEN % 2**32) / 2.0**32

    def model_of(self, name: str) -> str:
        """Return the name of the model that serves most requests for a preset; any other name as it is."""
        preset = self.table.find(name)
        return name if preset is None else preset.main.model

    def replace(self, table: PresetTable) -> list[str]:
        """Take over another table; return a line for each difference."""
        old, new = self.table.presets, table.presets
        self.table, self.encoded = table, table.encoded()
        return [
            *(f"{name} is new" for name in new if name not in old),
            *(f"{name} is gone" for name in old if name not in new),
            *(f"{name} has changed" for name in new if name in old and _differ(new[name], old[name])),
        ]


def check_models(
    table: PresetTable, find: Callable[[str], ModelStatus], models: Callable[[], Sequence[ModelStatus]]
) -> None:
    """Raise ConfigError for a preset whose model isn't here; log a warning for one that hides a model."""
    for target in table.models():
        try:
            find(target.model)
        except ModelNotFound as error:
            names = [status.name for status in models()]
            names += [f"{status.name}:{status.type}" for status in models() if status.type]
            near = difflib.get_close_matches(target.model, names, n=1, cutoff=0.6)
            fix = (
                f"did you mean {near[0]}?"
                if near
                else "`corral pull` brings it, `corral list` has those here"
            )
            raise ConfigError(f"{target.place}: the model '{target.model}' isn't here; {fix}") from error
    for name in table.presets:
        try:
            find(name)
        except ModelNotFound:
            continue
        logger.warning(
            "the preset %r hides the model of that name; requests get it by its type, NAME:TYPE", name
        )


def _differ(new: Preset, old: Preset) -> bool:
    return _without_places(new) != _without_places(old)


def _without_places(preset: Preset) -> Preset:
    """Return the preset without the lines of the file, which change when anything is written above them."""
    targets = tuple(msgspec.structs.replace(target, place="") for target in preset.targets)
    return msgspec.structs.replace(preset, targets=targets)
