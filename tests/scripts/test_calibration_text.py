"""Tests of the making of calibration texts: pieces, mixtures, cleaning, and pinned packages."""

from __future__ import annotations

import io
import re
import tarfile
from pathlib import Path

import pytest

from quantize.calibration import texts
from scripts.calibration_text.__main__ import mixed
from scripts.calibration_text.cleaning import markdown, pieces, without_notice
from scripts.calibration_text.generated import exercises, tables
from scripts.calibration_text.packages import SOURCES, Source, package_files

PAGE = (Path(texts.__file__).parent / "README.md").read_text("utf-8")


def test_pieces_are_the_text_in_whole_lines() -> None:
    text = "\n".join(f"line {number} of the text" for number in range(300))
    parts = list(pieces(text, 1000))
    assert text.startswith("\n".join(parts))
    assert all(1000 <= len(part) + 1 < 1030 for part in parts[:-1])
    assert len(parts) == len(text) // 1000


def test_a_short_rest_is_left_out() -> None:
    assert list(pieces("a" * 400, 1000)) == ["a" * 400]
    assert list(pieces("a" * 300, 1000)) == []


def test_a_mixture_goes_round_its_kinds_and_ends_at_its_size() -> None:
    kinds = {"a": iter(["a1", "a2", "a3"]), "b": iter(["b1"])}
    assert mixed(kinds, ("a", "b"), 100) == "a1\n\nb1\n\na2\n\na3\n"
    assert mixed({"a": iter(["a" * 40] * 9)}, ("a",), 100) == "a" * 40 + "\n\n" + "a" * 40 + "\n"


def test_html_becomes_markdown() -> None:
    page = "<head>x</head><h2>Use</h2><p>It is <code>a&lt;b</code>.</0></p><pre><code>x = 1\n</code></pre>"
    assert markdown(page) == "## Use\nIt is `a<b`.\n\n```\nx = 1\n```"


def test_the_notice_at_the_beginning_of_code_is_left_out() -> None:
    assert without_notice("/* notice\n */\n\nint x; /* kept */") == "int x; /* kept */"
    assert without_notice("// notice\n// more\nint x; // kept") == "int x; // kept"


def test_exercises_are_right() -> None:
    found = [next(kind) for kind in [exercises()] for _ in range(5)]
    products = re.findall(r"(?<!/)\b(\d+) × (\d+) = (\d+)", "\n".join(found))
    assert products
    assert all(int(a) * int(b) == int(c) for a, b, c in products)


def test_tables_are_of_four_forms() -> None:
    forms = [next(rows) for rows in [tables()] for _ in range(4)]
    assert [form[:2] for form in forms] == ["{\n", "id", "| ", "- "]


def test_a_package_of_other_bytes_is_refused(tmp_path: Path) -> None:
    source = Source("npm", "@some/thing", "1.0", "0" * 64, "MIT")
    folder = tmp_path / "some-thing-1.0"
    folder.mkdir()
    with tarfile.open(folder / "thing.tgz", "w:gz") as tar:
        member = tarfile.TarInfo("package/a.txt")
        member.size = 2
        tar.addfile(member, io.BytesIO(b"hi"))
    with pytest.raises(SystemExit, match=r"thing\.tgz has the SHA-256 [0-9a-f]{64}, not 0000"):
        package_files(source, tmp_path)


def test_the_page_names_every_package_with_its_version_and_licence() -> None:
    named = re.findall(r"(?m)^\| (\S+) \| (\d\S+) \| (npm|PyPI) \| (.+?) \|", PAGE)
    listed = [(source.name, source.version, source.registry, source.licence) for source in SOURCES.values()]
    assert sorted(
        (name, version, registry.lower(), licence) for name, version, registry, licence in named
    ) == sorted(listed)


def test_the_licences_of_all_packages_that_ask_for_it_are_there() -> None:
    notices = (Path(texts.__file__).parent / "NOTICES").read_text("utf-8")
    wanted = {
        f"=== {s.name} {s.version} ({s.licence})" for s in SOURCES.values() if not s.licence.startswith("CC0")
    }
    assert wanted == set(re.findall(r"(?m)^===.*$", notices))
