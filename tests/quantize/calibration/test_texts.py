"""Tests of the texts that calibration comes with."""

from __future__ import annotations

import re

import pytest

from quantize.calibration.texts import default_text, held_out_text

KINDS = {
    "dialogue": r"(?m)^(Assistant|Assistent|Asistente|助手|Ассистент)\s?[:：]",
    "Python": r"(?m)^ *def \w+\(",
    "C++": r"\bstd::",
    "Java or Kotlin": r"\b(private|public|override) (final |fun |class |void )",
    "JavaScript": r"\b(const|var) \w+ = ",
    "Markdown": r"(?m)^## ",
    "a table": r"(?m)^\|.*\|$|^\d+,\w+,\w+,",
    "JSON": r'(?m)^ +"\w+": ',
    "German": r"\b(nicht|eine|werden)\b",
    "French": r"\b(est|une|dans)\b",
    "Spanish": r"\b(para|una|del)\b",
    "Chinese": "[\u4e00-\u9fff]{8}",
    "Japanese": "[\u3040-\u309f]{3}",
    "Russian": "[а-я]{5}",
    "mathematics": r"\d+ [×/=] \d+|\\(frac|sum|int|infty|Gamma)",
}


@pytest.mark.parametrize("kind", KINDS)
def test_every_part_of_the_default_text_has_every_kind_that_packages_have(kind: str) -> None:
    text = default_text()
    size = len(text) // 4
    parts = [text[start : start + size] for start in range(0, 4 * size, size)]
    has = [bool(re.search(KINDS[kind], part)) for part in parts]
    assert has == [True] * 4 if kind != "dialogue" else has[:2] == [True] * 2


def test_the_beginning_of_the_default_text_is_a_mixture_already() -> None:
    """128 windows of 512 tokens are about 200,000 characters."""
    beginning = default_text()[:200_000]
    assert [kind for kind, pattern in KINDS.items() if not re.search(pattern, beginning)] == []
    for script in ("Arabic", "\u0627"), ("Korean", "\uac00"), ("Devanagari", "\u0915"):
        assert script[1] in default_text(), script[0]


def test_nothing_of_the_held_out_text_is_in_the_default_one() -> None:
    known = set(default_text().split("\n"))
    held_out = [line for line in held_out_text().split("\n") if len(line) > 40]
    assert len(held_out) > 500
    assert [line for line in held_out if line in known] == []


def test_the_texts_have_the_sizes_that_their_page_says() -> None:
    assert 1_000_000 < len(default_text().encode()) < 1_200_000
    assert 100_000 < len(held_out_text().encode()) < 200_000
