"""The settings in docs/presets.md are right."""

from __future__ import annotations

from pathlib import Path

import pytest

from server.config_sources import load_config

PAGE = Path(__file__).parents[3] / "docs" / "presets.md"


def test_the_example_of_the_page_is_read(tmp_path: Path) -> None:
    (example,) = [part.partition("```")[0] for part in PAGE.read_text().split("```toml\n")[1:]]
    path = tmp_path / "corral.toml"
    path.write_text(example)
    presets = load_config({}, {}, path).presets.presets
    assert list(presets) == ["gpt-4o-mini", "chat:precise", "mix"]
    assert [target.share for target in presets["mix"].targets] == pytest.approx([0.9, 0.1])
