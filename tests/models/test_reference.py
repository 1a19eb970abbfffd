from __future__ import annotations

from pathlib import Path

import pytest

from models.errors import InvalidReference, ModelNotFound
from models.quantization_types import QUANTIZATION_TYPES
from models.reference import ModelRef, canonical_type


@pytest.mark.parametrize(
    ("text", "repo", "revision", "type_"),
    [
        ("lmsys/vicuna-7b-v1.5", "lmsys/vicuna-7b-v1.5", None, None),
        ("lmsys/vicuna-7b-v1.5:q4_k_m", "lmsys/vicuna-7b-v1.5", None, "Q4_K_M"),
        ("org/name@main:8bit", "org/name", "main", "Q8_0"),
        ("org/name@refs/pr/1", "org/name", "refs/pr/1", None),
        ("  org/name@v1.0:5BIT ", "org/name", "v1.0", "Q5_K_M"),
        ("gpt2", "gpt2", None, None),
    ],
)
def test_hub_references(text: str, repo: str, revision: str | None, type_: str | None) -> None:
    ref = ModelRef.parse(text)
    assert (ref.kind, ref.repo, ref.revision, ref.type, ref.path) == ("hub", repo, revision, type_, None)
    assert ref.name == repo
    assert ModelRef.parse(str(ref)) == ref


def test_demo() -> None:
    assert ModelRef.parse("demo") == ModelRef(kind="demo")
    assert str(ModelRef.parse("demo:4bit")) == "demo:Q4_K_M"
    assert ModelRef.parse("demo").name == "demo"


def test_demo_wins_over_a_folder_of_that_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "demo").mkdir()
    assert ModelRef.parse("demo").kind == "demo"
    assert ModelRef.parse("./demo").path == tmp_path / "demo"


def test_paths(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "some" / "my model"
    folder.mkdir(parents=True)
    file = tmp_path / "tiny.Q8_0.gguf"
    file.touch()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    for text in ("some/my model:Q8_0", "./some/my model:8bit", "~/some/my model:q8_0", f"{folder}:Q8_0"):
        ref = ModelRef.parse(text)
        assert ref == ModelRef(kind="path", path=folder, type="Q8_0")
        assert ModelRef.parse(str(ref)) == ref
    assert ModelRef.parse("./some/my model").name == "my model"
    assert ModelRef.parse("tiny.Q8_0.gguf") == ModelRef(kind="path", path=file)
    assert ModelRef.parse("tiny.Q8_0.gguf").name == "tiny.Q8_0"


def test_a_colon_may_be_part_of_an_existing_path(tmp_path: Path) -> None:
    folder = tmp_path / "a:b"
    folder.mkdir()
    assert ModelRef.parse(str(folder)).path == folder
    assert ModelRef.parse(f"{folder}:Q8_0") == ModelRef(kind="path", path=folder, type="Q8_0")


@pytest.mark.parametrize(
    "text", ["/no/such/folder", "./nothing", "../nothing:Q8_0", "nothing.gguf", "~/nothing"]
)
def test_a_path_where_nothing_is(text: str) -> None:
    with pytest.raises(ModelNotFound, match="no file or folder"):
        ModelRef.parse(text)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "   ",
        "a/b/c",
        "org/na me",
        "org/",
        "/",
        "org//name",
        "org/name@",
        "org/name@a..b",
        "org/name@@x",
        "org/name:",
        ":Q8_0",
        "org/name:Q4_K_M:Q8_0",
        "https://example.org/org/name",
        "org/na--me",
        "-x/name",
        "org/name\x00",
        "org/" + "n" * 200,
        "x" * 5000,
        "~nosuchuser/model",
        "org/..",
    ],
)
def test_nonsense_is_refused(text: str) -> None:
    if text == "/":  # an existing folder, and so a reference
        assert ModelRef.parse(text).kind == "path"
        return
    with pytest.raises(InvalidReference) as caught:
        ModelRef.parse(text)
    assert ";" in caught.value.message
    assert len(caught.value.message) < 400


def test_unknown_types_suggest_the_nearest() -> None:
    with pytest.raises(InvalidReference, match="Q4_K_M"):
        ModelRef.parse("org/name:Q4KM")
    with pytest.raises(InvalidReference, match="F16"):
        canonical_type("fp16")
    with pytest.raises(InvalidReference, match="known are F32"):
        canonical_type("zzzzzz")


def test_types() -> None:
    assert {"F32", "BF16", "IQ4_XS", "Q3_K_S", "Q2_K"} <= set(QUANTIZATION_TYPES)
    for type_ in QUANTIZATION_TYPES:
        assert canonical_type(type_.lower()) == type_
    ref = ModelRef.parse("org/name@v1")
    assert str(ref.with_type("4bit")) == "org/name@v1:Q4_K_M"
    assert ref.with_type("4bit").with_type(None) == ref
