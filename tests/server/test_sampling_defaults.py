"""The settings of sampling: what a request leaves open, from the settings to the samplers."""

from __future__ import annotations

from pathlib import Path

import pytest

from models.errors import ConfigError
from server.config_sources import load_config
from server.engine.sampling_params import SamplingParams
from server.ipc.messages import Generate
from server.ipc.prompts import TextPrompt
from server.sampling_defaults import SamplingDefaults
from server.worker.sampling.defaults import with_defaults


def test_every_field_of_sampling_but_a_requests_own_has_a_setting() -> None:
    own = {"logit_bias", "stop", "min_tokens"}
    assert set(SamplingParams.__struct_fields__) - own == set(SamplingDefaults.__dataclass_fields__)


def test_minus_one_means_what_it_means_in_requests() -> None:
    options = SamplingDefaults(top_k=-1, top_n_sigma=-1.0, repeat_last_n=-1, max_tokens=-1, seed=-1)
    assert options.sampling == {"top_k": 0, "top_n_sigma": 0, "repeat_last_n": -1}
    assert SamplingDefaults().sampling == {}


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("temperature", -1),
        ("top_p", 1.5),
        ("top_k", -2),
        ("seed", 1 << 32),
        ("mirostat", 3),
        ("dry_base", 0.5),
    ],
)
def test_limits_are_those_of_requests(name: str, value: float) -> None:
    with pytest.raises(ConfigError, match=f"--{name.replace('_', '-')}"):
        load_config({name: value}, {})


def test_a_request_wins_over_the_settings() -> None:
    settings = SamplingDefaults(temperature=0.1, max_tokens=9).sampling
    request = Generate(
        id="r", prompt=TextPrompt("Hi"), params=SamplingParams(temperature=0.7), given=("temperature",)
    )
    params = with_defaults(request, settings)
    assert (params.temperature, params.max_tokens) == (0.7, 9)


def test_a_template_file_is_read_before_anything_is_served(tmp_path: Path) -> None:
    good, bad = tmp_path / "t.jinja", tmp_path / "b.jinja"
    good.write_text("{{ messages }}")
    bad.write_bytes(b"\xff\xfe")
    assert load_config({"chat_template_file": str(good)}, {}).chat_template_file == str(good)
    for path, reason in ((bad, "UTF-8"), (tmp_path / "none", "check the path")):
        with pytest.raises(ConfigError, match=reason):
            load_config({"chat_template_file": str(path)}, {})
    with pytest.raises(ConfigError, match="leave one of them out"):
        load_config({"chat_template_file": str(good), "chat_template": "chatml"}, {})
