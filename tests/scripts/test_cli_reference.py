from __future__ import annotations

from scripts.cli_reference import PATH, render
from server.cli.program import COMMANDS


def test_the_page_is_up_to_date() -> None:
    assert PATH.read_text(encoding="utf-8") == render(), "run: make docs"


def test_every_command_has_a_section() -> None:
    page = render()
    for name in COMMANDS:
        assert f"\n## corral {name}\n" in page
