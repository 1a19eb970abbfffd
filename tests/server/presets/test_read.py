"""The presets of a settings file, and what is said of a bad one."""

from __future__ import annotations

from pathlib import Path

import pytest

from models.errors import ConfigError
from server.config_sources import load_config
from server.presets.table import Layer, PresetTable, Target


def table_of(folder: Path, text: str) -> PresetTable:
    path = folder / "corral.toml"
    path.write_text(text)
    return load_config({}, {}, path).presets


def test_a_string_is_another_name(tmp_path: Path) -> None:
    table = table_of(tmp_path, 'port = 1\n[presets]\n"gpt-4o-mini" = "demo"\n')
    (target,) = table.presets["gpt-4o-mini"].targets
    assert (target.arm, target.share, target.model, target.layers) == ("", 1.0, "demo", ())
    assert target.place.endswith("corral.toml, line 3: presets.gpt-4o-mini.model")


def test_without_presets_the_table_is_empty(tmp_path: Path) -> None:
    assert table_of(tmp_path, "port = 1\n") == PresetTable()


def test_everything_that_a_preset_says(tmp_path: Path) -> None:
    table = table_of(
        tmp_path,
        """
[presets."chat:precise"]
model = "demo:Q8_0"
description = "For contracts."
system = "Be precise."
system_mode = "replace"
prompt_format = "vicuna"
keep_alive = "10m"
adapters = { law = 0.5 }
strip = ["logit_bias"]
force = { temperature = 0, chat_template_kwargs = { style = "terse" } }
default = { max_tokens = 50 }
""",
    )
    preset = table.presets["chat:precise"]
    assert preset.description == "For contracts."
    (target,) = preset.targets
    assert target.model == "demo:Q8_0"
    assert target.adapters == {"law": 0.5}
    assert target.layers == (
        Layer(
            name="chat:precise",
            force={"temperature": 0, "chat_template_kwargs.style": "terse", "prompt_format": "vicuna"},
            default={"max_tokens": 50, "keep_alive": "10m"},
            strip=("logit_bias",),
            system="Be precise.",
            system_mode="replace",
        ),
    )


ARMS = """
[presets.base]
model = "demo"
force = { seed = 1 }
[presets.mix]
default = { top_k = 5 }
arms = [
  { name = "eight", model = "demo:Q8_0", weight = 90 },
  { model = "base", weight = 10, force = { seed = 2 } },
]
[presets.both]
arms = [{ model = "mix" }, { model = "demo:Q5_K_M" }]
"""


def test_arms_may_be_presets_and_presets_may_be_served_by_presets(tmp_path: Path) -> None:
    presets = table_of(tmp_path, ARMS).presets
    eight, base = presets["mix"].targets
    assert (eight.arm, eight.share, eight.model) == ("eight", 0.9, "demo:Q8_0")
    assert (base.arm, base.share, base.model) == ("base", 0.1, "demo")
    assert [layer.name for layer in eight.layers] == ["mix"]
    assert [layer.name for layer in base.layers] == ["mix", "mix/base", "base"]
    assert shares(presets["both"].targets) == pytest.approx(
        {"mix/eight": 0.45, "mix/base": 0.05, "demo:Q5_K_M": 0.5}
    )


def shares(targets: tuple[Target, ...]) -> dict[str, float]:
    return {target.arm: target.share for target in targets}


def preset(*lines: str) -> str:
    return "\n".join(["[presets.p]", 'model = "demo"', *lines]) + "\n"


BAD = [
    ("presets = 1\n", "line 1: presets: must be a table of presets"),
    ("[presets]\na = 3\n", "line 2: presets.a: "),
    ("[presets.a]\n", "line 1: presets.a: give 'model', or 'arms' with a model each"),
    (preset('sytem = "x"'), "line 3: presets.p.sytem: is no setting of a preset; did you mean system?"),
    (preset("force = { temprature = 1 }"), "line 3: presets.p.force.temprature: .*did you mean temperature?"),
    (preset("force = { temperature = -1 }"), "line 3: presets.p.force.temperature: .*temperature"),
    (preset('default = { top_k = "x" }'), "line 3: presets.p.default.top_k: .*top_k"),
    (preset("default = { min_p = nan }"), "line 3: presets.p.default.min_p: .*finite"),
    (preset("default = { seed = 99999999999999999999999 }"), "line 3: presets.p.default: .*64 bits"),
    ("[presets.p]\narms = [{ name = 'x' }]\n", "line 2: presets.p.arms.0..model: field required"),
    (preset("default = { seed = 1979-05-27 }"), "line 3: presets.p.default.seed: "),
    (preset("force = { max_completion_tokens = 1 }"), "write max_tokens, which stands for all"),
    (preset("force = { lora = [] }"), "write 'adapters'"),
    (preset("force = { messages = [] }"), "presets.p.force.messages: is no parameter to set"),
    (preset('strip = ["see"]'), "line 3: presets.p.strip.0.: 'see' can't be removed.*did you mean seed?"),
    (preset('strip = ["messages"]'), "'messages' can't be removed from requests"),
    (preset("force = { seed = 1 }", "default = { seed = 2 }"), "line 3: .*is in 'default' as well"),
    (preset('prompt_format = "vicunna"'), "line 3: presets.p.prompt_format: .*vicuna"),
    (preset('keep_alive = "soon"'), "line 3: presets.p.keep_alive: "),
    (preset("force = { min_tokens = 9, max_tokens = 3 }"), "line 1: presets.p: .*min_tokens"),
    (preset('strip = ["max_tokens"]'), "line 1: presets.p: .*'max_tokens'; it is stripped: give a default"),
    (preset('system_mode = "append"'), "line 3: presets.p.system_mode: .*prepend"),
    (preset('arms = [{ model = "x" }]'), "line 1: presets.p: give 'model', or 'arms'"),
    ("[presets.p]\narms = [{ model = 'x' }, { model = 'x' }]\n", "two arms have the same name"),
    ("[presets.p]\narms = [{ model = 'x', weight = 0 }]\n", "line 2: presets.p.arms.0..weight: .*greater"),
    ("[presets]\na = 'a'\n", "line 2: presets.a.model: a preset can't be served by itself"),
    ("[presets]\na = 'b'\nb = 'c'\nc = 'a'\n", "line 4: presets.c.model: .*circle: a → b → c → a"),
    ('[presets]\n" a" = "demo"\n', "line 2: presets.* is no name"),
    ("[preset]\na = 'b'\n", "unknown setting 'preset' .*did you mean presets?"),
]


@pytest.mark.parametrize(("text", "problem"), BAD)
def test_what_is_wrong_is_said_with_its_line(tmp_path: Path, text: str, problem: str) -> None:
    with pytest.raises(ConfigError, match=problem):
        table_of(tmp_path, text)


def chain(n: int) -> str:
    return "".join(f"p{i} = 'p{i + 1}'\n" for i in range(1, n)) + f"p{n} = 'demo'\n"


@pytest.mark.parametrize("backwards", [False, True])
def test_a_model_may_be_so_many_presets_away(tmp_path: Path, backwards: bool) -> None:
    step = -1 if backwards else 1
    for n, problem in ((32, None), (33, "more than 32 presets away"), (900, "more than 32 presets away")):
        text = "[presets]\n" + "\n".join(chain(n).splitlines()[::step])
        if problem is None:
            assert table_of(tmp_path, text).presets["p1"].main.model == "demo"
            continue
        with pytest.raises(ConfigError, match=problem):
            table_of(tmp_path, text)


def test_arms_of_arms_of_arms_are_counted_before_there_are_billions(tmp_path: Path) -> None:
    two = "arms = [{{ name = 'a', model = '{0}' }}, {{ name = 'b', model = '{0}' }}]\n"
    text = "".join(f"[presets.p{i}]\n" + two.format(f"p{i + 1}") for i in range(30))
    with pytest.raises(ConfigError, match="comes to more than 1,000 arms, which is the limit"):
        table_of(tmp_path, text + "[presets.p30]\n" + two.format("demo"))


def test_an_arm_whose_part_rounds_to_nothing_gets_no_request(tmp_path: Path) -> None:
    a, b = "name = 'a', model = 'x', weight = 1e9", "name = 'b', model = 'y', weight = 5e-324"
    preset = table_of(tmp_path, f"[presets.p]\narms = [{{ {a} }}, {{ {b} }}]\n").presets["p"]
    assert {preset.target_of("key", str(user), 0.0).arm for user in range(50)} == {"a"}
