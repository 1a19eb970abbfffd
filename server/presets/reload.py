"""`SettingsReload`: reads the settings file again: presets are taken over, the rest needs a restart."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

from server.config import SETTINGS, ServerConfig, flag_of
from server.presets.book import PresetBook, check_models
from server.supervisor.protocol import ModelService

ReadAgain = Callable[[], ServerConfig]
"""Reads the settings as they were read at the start: flags, environment and file. Raises ConfigError."""


class SettingsReload:
    """A part of `server.reload.Reloads`. `config` has the settings that the server runs with."""

    def __init__(
        self, config: ServerConfig, read_again: ReadAgain, book: PresetBook, service: ModelService
    ) -> None:
        self._config = config
        self._read_again = read_again
        self._book = book
        self._service = service

    async def __call__(self) -> Sequence[str]:
        """Take over the presets, if all settings are right. Raises ConfigError."""
        config = await asyncio.to_thread(self._read_again)
        check_models(config.presets, self._service.find, self._service.models)
        changes = [f"the preset {change}" for change in self._book.replace(config.presets)]
        others = [flag_of(name) for name in SETTINGS if getattr(config, name) != getattr(self._config, name)]
        return [*changes, *(f"{flag} has changed, which needs a restart" for flag in others)]
