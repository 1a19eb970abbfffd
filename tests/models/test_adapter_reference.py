from __future__ import annotations

from pathlib import Path

import pytest

from models.adapter_reference import AdapterRef
from models.errors import InvalidReference


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    for name in ("style.gguf", "a=b@2.gguf", "my adapter.gguf", "Q8_0.gguf"):
        (tmp_path / name).touch()
    (tmp_path / "peft.v2").mkdir()
    return tmp_path


@pytest.mark.parametrize(
    ("text", "file", "name", "scale"),
    [
        ("style.gguf", "style.gguf", "style", 1.0),
        ("./style.gguf@0", "style.gguf", "style", 0.0),
        ("style.gguf@-.5e1", "style.gguf", "style", -5.0),
        ("style.gguf=pirate", "style.gguf", "pirate", 1.0),
        ("style.gguf=pirate@0.25", "style.gguf", "pirate", 0.25),
        ("peft.v2", "peft.v2", "peft.v2", 1.0),
        ("a=b@2.gguf", "a=b@2.gguf", "a-b-2", 1.0),
        ("a=b@2.gguf=x@3", "a=b@2.gguf", "x", 3.0),
        ("my adapter.gguf", "my adapter.gguf", "my-adapter", 1.0),
        ("Q8_0.gguf=eight", "Q8_0.gguf", "eight", 1.0),
    ],
)
def test_forms(text: str, file: str, name: str, scale: float, here: Path) -> None:
    assert AdapterRef.parse(text) == AdapterRef(here / file, name, scale)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("none.gguf", "no adapter at 'none.gguf'"),
        ("style.gguf@x", "no adapter at 'style.gguf@x'"),
        ("style.gguf=", "no name for an adapter"),
        ("style.gguf=a b", "no name for an adapter"),
        ("style.gguf=a:b", "no name for an adapter"),
        ("style.gguf=q4_k_m", "MODEL:Q4_K_M is the model in that type"),
        ("Q8_0.gguf", "MODEL:Q8_0 is the model in that type"),
        ("style.gguf@1e9", "must be from -1000 to 1000"),
        (" ", "is empty"),
        ("a\0b", "no adapter at"),
    ],
)
def test_refusals(text: str, said: str) -> None:
    with pytest.raises(InvalidReference) as error:
        AdapterRef.parse(text)
    assert said in error.value.message
