"""The settings file read again: a good one is taken over, a bad one changes nothing."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import pytest

from models.errors import ConfigError
from server.config_sources import load_config
from server.presets.book import PresetBook, check_models
from server.presets.reload import SettingsReload
from tests.server.scripted_service import ScriptedService

BEFORE = '[presets]\nfast = "demo"\nold = "demo"\nsame = "demo"\n'


class Reloading:
    """A settings file, and the book that is made of it."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "corral.toml"
        self.path.write_text(BEFORE)
        read = partial(load_config, {"ctx": 99}, {}, self.path)
        config = read()
        self.book = PresetBook(config.presets)
        self._reload = SettingsReload(config, read, self.book, ScriptedService())

    async def __call__(self, text: str) -> list[str]:
        self.path.write_text(text)
        return list(await self._reload())


async def test_presets_are_taken_over_and_the_rest_needs_a_restart(tmp_path: Path) -> None:
    reloading = Reloading(tmp_path)
    changes = await reloading(
        "port = 9001\nctx = 5\n[presets]\n"
        "same = 'demo'\nnew = 'demo'\nfast = { model = 'demo', system = 'Hi' }\n"
    )
    assert changes == [
        "the preset new is new",
        "the preset old is gone",
        "the preset fast has changed",
        "--port has changed, which needs a restart",  # and not --ctx, where the flag wins
    ]
    assert list(reloading.book.table.presets) == ["same", "new", "fast"]
    assert await reloading(reloading.path.read_text()) == ["--port has changed, which needs a restart"]


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("[presets\n", "not valid TOML"),
        ("prot = 1\n", "unknown setting 'prot' .*did you mean port?"),
        (
            "[presets]\nfast = 'dem'\n",
            "line 2: presets.fast.model: the model 'dem' isn't here; did you mean demo?",
        ),
        ("[presets]\nfast = 'x'\n", "line 2: .*`corral pull` brings it"),
        (
            "[presets]\nnew = 'demo'\nfast = { model = 'demo', force = { seed = 'x' } }\n",
            "line 3: .*fast.force.seed",
        ),
    ],
)
async def test_a_bad_file_changes_nothing(tmp_path: Path, text: str, problem: str) -> None:
    reloading = Reloading(tmp_path)
    table = reloading.book.table
    with pytest.raises(ConfigError, match=problem):
        await reloading(text)
    assert reloading.book.table is table


async def test_a_file_that_is_gone_changes_nothing(tmp_path: Path) -> None:
    reloading = Reloading(tmp_path)
    reloading.path.unlink()
    with pytest.raises(ConfigError, match="can't read the settings file"):
        await reloading._reload()


def test_a_preset_that_hides_a_model_is_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "corral.toml"
    path.write_text("[presets]\ndemo = 'demo:Q4_K_M'\n")
    service = ScriptedService()
    find = service.find
    check_models(load_config({}, {}, path).presets, lambda name: find(name.partition(":")[0]), service.models)
    assert "the preset 'demo' hides the model of that name" in caplog.text
