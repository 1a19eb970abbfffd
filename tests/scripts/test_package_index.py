from __future__ import annotations

from pathlib import Path

import pytest

from scripts import package_index
from scripts.package_index import DocstringMissing, index_lines, outdated, render, with_index


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Return a project whose only package is `models`, with two modules and a folder."""
    for name, text in {
        "__init__": '"""Animals."""\n\nLIMIT = 3\n',
        "cat": '"""Cats purr.\n\nThey sleep, too.\n"""\n',
        "a_dog": r'"""Dogs write \\ and bark."""' + "\n",
        "herd/__init__": '"""Herds."""\n',
    }.items():
        path = tmp_path / "models" / f"{name}.py"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return tmp_path


def test_the_indexes_of_all_packages_are_up_to_date() -> None:
    names = [str(path.relative_to(package_index.ROOT)) for path in outdated()]
    assert not names, "run: make docs"


def test_an_index_names_modules_then_folders_by_their_first_lines(root: Path) -> None:
    assert render(root / "models/__init__.py") == (
        '"""Animals.\n\n'
        "a_dog.py  Dogs write \\\\ and bark.\n"
        "cat.py    Cats purr.\n"
        "herd/     Herds.\n"
        '"""\n\nLIMIT = 3\n'
    )


def test_a_package_without_modules_has_no_index(root: Path) -> None:
    assert render(root / "models/herd/__init__.py") == '"""Herds."""\n'


def test_an_index_is_current_until_a_first_line_changes(root: Path) -> None:
    path = root / "models/__init__.py"
    assert outdated(root) == [path]
    path.write_text(render(path), encoding="utf-8")
    assert outdated(root) == []
    (root / "models/cat.py").write_text('"""Cats hiss."""\n', encoding="utf-8")
    assert outdated(root) == [path]
    assert "cat.py    Cats hiss.\n" in render(path)


def test_an_index_is_replaced_where_it_stands_and_other_text_stays() -> None:
    docstring = [
        "Head.",
        "",
        "old.py  Old",
        "        and long.",
        "gone/   Gone.",
        "",
        "Tail:",
        "    x  y",
    ]
    assert with_index(docstring, ["new.py  New."]) == [
        "Head.", "", "new.py  New.", "", "Tail:", "    x  y",
    ]  # fmt: skip


def test_long_entries_hang_within_the_width() -> None:
    lines = index_lines({"name.py": "word " * 40, "b/": "Short."})
    assert all(len(line) <= package_index.WIDTH for line in lines)
    assert lines[1].startswith(" " * 9 + "word")
    assert lines[-1] == "b/       Short."


@pytest.mark.parametrize(("name", "text"), [("__init__", ""), ("cat", ""), ("__init__", "'''Animals.'''\n")])
def test_a_docstring_that_cannot_be_used_is_an_error_with_the_file(root: Path, name: str, text: str) -> None:
    path = root / f"models/{name}.py"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(DocstringMissing, match=f"models/{name}.py"):
        render(root / "models/__init__.py")
