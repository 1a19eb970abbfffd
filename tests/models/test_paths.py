from __future__ import annotations

from pathlib import Path

import pytest

from models.paths import Paths


def test_defaults() -> None:
    paths = Paths.from_environment({"HOME": "/home/u"})
    assert paths.home == Path("/home/u/.local/share/corral")
    assert paths.hf_cache == Path("/home/u/.cache/huggingface/hub")
    inside = (paths.models_dir, paths.staging_dir, paths.locks_dir, paths.verified_dir)
    assert len(set(inside)) == 4
    assert all(path.is_relative_to(paths.home) for path in inside)


@pytest.mark.parametrize(
    ("env", "home", "cache"),
    [
        ({"CORRAL_HOME": "/data"}, "/data", "/home/u/.cache/huggingface/hub"),
        ({"CORRAL_HOME": "~/c", "HF_HOME": "~/hf"}, "/home/u/c", "/home/u/hf/hub"),
        ({"XDG_DATA_HOME": "/x", "XDG_CACHE_HOME": "/y"}, "/x/corral", "/y/huggingface/hub"),
        ({"HF_HOME": "/a", "HF_HUB_CACHE": "/b"}, "/home/u/.local/share/corral", "/b"),
        ({"CORRAL_HOME": "", "HF_HOME": ""}, "/home/u/.local/share/corral", "/home/u/.cache/huggingface/hub"),
    ],
)
def test_environment(env: dict[str, str], home: str, cache: str) -> None:
    paths = Paths.from_environment({"HOME": "/home/u", **env})
    assert (str(paths.home), str(paths.hf_cache)) == (home, cache)


def test_relative_settings_become_absolute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert Paths.from_environment({"HOME": "/h", "CORRAL_HOME": "here"}).home == tmp_path / "here"
