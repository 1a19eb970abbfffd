from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from server.toolbox.builtin.arguments import Arguments
from server.toolbox.builtin.search import MOST_RESULTS, file_glob_search, grep_search
from server.toolbox.tool import ToolFailure


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    for name, text in {
        "top.txt": "Needle\nhay\n",
        "src/main.py": "needle = 1\nhay\nneedle.\n",
        "src/deep/x.py": "hay",
        "build/out.py": "needle",
        "src/image": "\0needle",
    }.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    return tmp_path


def listed(tree: Path, **values: Any) -> list[str]:
    found = file_glob_search(Arguments({"path": ".", **values}, str(tree)))
    return [entry["path"] for entry in found["entries"]]


@pytest.mark.parametrize(
    ("values", "paths"),
    [
        ({}, ["top.txt", "src/image", "src/main.py", "src/deep/x.py"]),
        ({"include": "*.py"}, ["src/main.py", "src/deep/x.py"]),
        ({"include": "src/*.py"}, ["src/main.py"]),
        ({"include": "src/**/*.py"}, ["src/main.py", "src/deep/x.py"]),
        ({"include": "**/deep/**"}, ["src/deep/x.py"]),
        ({"include": "[!m]*.p?", "exclude": "top*"}, ["src/deep/x.py"]),
        ({"include": "*.py", "exclude": "x.*"}, ["src/main.py"]),
        ({"type": "dir"}, ["build", "src", "src/deep"]),
        ({"type": "all", "include": "*ee*"}, ["src/deep"]),
        ({"max_depth": 1}, ["top.txt"]),
        ({"max_depth": 2, "type": "dir"}, ["build", "src", "src/deep"]),
    ],
)
def test_globs(tree: Path, values: dict[str, Any], paths: list[str]) -> None:
    assert listed(tree, **values) == paths


def test_a_list_is_cut(tree: Path) -> None:
    found = file_glob_search(Arguments({"path": str(tree), "limit": 1}, None))
    assert found["entries"] == [{"path": "top.txt", "type": "file"}]
    assert "Total matches: 4\n[only the first 1 are shown" in found["plain_text_response"]
    assert found["base"] == str(tree.resolve())


def grep(tree: Path, pattern: str, **values: Any) -> str:
    found: str = grep_search(Arguments({"path": ".", "pattern": pattern, **values}, str(tree)))[
        "plain_text_response"
    ]
    return found


def test_lines_that_match(tree: Path) -> None:
    assert grep(tree, "^needle") == "src/main.py:needle = 1\nsrc/main.py:needle.\n\n---\nTotal matches: 2\n"
    assert grep(tree, "needle.", literal=True, path="src/main.py").count("needle") == 1
    assert "Total matches: 3" in grep(tree, "needle", ignore_case=True)
    around = grep(tree, "hay", include="main.py", context_lines=1)
    assert around.startswith("src/main.py-1-needle = 1\nsrc/main.py:2:hay\nsrc/main.py-3-needle.\n--\n")


def test_a_search_ends(tree: Path) -> None:
    (tree / "many").write_text("x\n" * (MOST_RESULTS + 5))
    assert f"Total matches: {MOST_RESULTS}\n[the search ended" in grep(tree, "x", include="many")


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        ({"type": "bogus"}, "invalid type: bogus"),
        ({"limit": 0}, "invalid limit"),
        ({"path": "nowhere"}, "no such folder"),
    ],
)
def test_a_wrong_search(tree: Path, values: dict[str, Any], reason: str) -> None:
    with pytest.raises(ToolFailure, match=reason):
        listed(tree, **values)


def test_a_wrong_pattern(tree: Path) -> None:
    with pytest.raises(ToolFailure, match="invalid regex"):
        grep(tree, "(")
