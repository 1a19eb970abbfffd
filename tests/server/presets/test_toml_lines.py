"""The line of a value, whatever stands around it."""

from __future__ import annotations

import pytest

from server.presets.toml_lines import Path, line_of, path_text

TEXT = '''port = 1  # a comment
presets.short = "demo"

[presets."a:b"]
model = "demo"
system = """
[presets.wrong]
force = 1
"""
force = { temperature = 1, stop = [
  "x",
] }

[presets."a:b".default]
top_k = 3

[[presets.mix.arms]]
model = "x"
[[presets.mix.arms]]
model = "y"
[presets.mix.arms.force]
seed = 1
'''


@pytest.mark.parametrize(
    ("path", "line"),
    [
        (("port",), 1),
        (("presets", "short"), 2),
        (("presets", "short", "model"), 2),
        (("presets", "a:b"), 4),
        (("presets", "a:b", "model"), 5),
        (("presets", "a:b", "missing"), 4),
        (("presets", "a:b", "force", "temperature"), 10),
        (("presets", "a:b", "default", "top_k"), 15),
        (("presets", "mix", "arms", 0, "model"), 18),
        (("presets", "mix", "arms", 1, "model"), 20),
        (("presets", "mix", "arms", 1, "force", "seed"), 22),
        (("presets",), 2),
        (("presets", "a:b", "force"), 10),
        (("nothing",), None),
    ],
)
def test_the_line_of_a_value(path: Path, line: int | None) -> None:
    assert line_of(TEXT, path) == line


def test_a_path_is_shown_as_toml_has_it() -> None:
    assert path_text(("presets", "a:b", "arms", 1, "top_k")) == 'presets."a:b".arms[1].top_k'
