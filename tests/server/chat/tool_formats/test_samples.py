"""Every format's samples are read, however they are cut; nothing that a model writes gets lost."""

from __future__ import annotations

import importlib
import random
from typing import Any

import pytest

from server.chat.tool_formats.registry import tool_formats
from tests.server.chat.tool_formats.sample import TOOLS, Sample, read

FORMATS = sorted(tool_formats())


def samples_of(name: str) -> list[Sample]:
    module: Any = importlib.import_module(f"tests.server.chat.tool_formats.samples.{name}")
    found: list[Sample] = module.SAMPLES
    return found


@pytest.mark.parametrize("name", FORMATS)
def test_samples(name: str) -> None:
    for place, sample in enumerate(samples_of(name)):
        for step in (None, 1, 2, 7):
            reader = tool_formats()[name].reader(TOOLS, thoughts=sample.marks, thinks=sample.thinks)
            found = read(reader, sample.raw, step)
            expected = (sample.content, sample.thoughts, list(sample.calls))
            assert found == expected, f"sample {place} in steps of {step}"


@pytest.mark.parametrize("name", FORMATS)
def test_the_samples_have_what_a_format_must_show(name: str) -> None:
    samples = samples_of(name)
    assert any(not sample.calls for sample in samples)
    assert any(sample.calls and sample.content for sample in samples)
    assert any(call.arguments == {} for sample in samples for call in sample.calls)
    assert any(not call.ended for sample in samples for call in sample.calls)
    assert any("世界" in str(call.arguments) for sample in samples for call in sample.calls)


@pytest.mark.parametrize("name", FORMATS)
def test_text_that_is_damaged_is_read_the_same_however_it_is_cut(name: str) -> None:
    known = tool_formats()[name]
    dice = random.Random(7)
    for sample in samples_of(name):
        for _ in range(30):
            start, end = sorted(dice.sample(range(len(sample.raw) + 1), 2))
            raw = sample.raw[:start] + dice.choice(["", "x", *known.marks]) + sample.raw[end:]

            def answer(step: int | None, raw: str = raw, sample: Sample = sample) -> Any:
                reader = known.reader(TOOLS, thoughts=sample.marks, thinks=sample.thinks)
                try:
                    return read(reader, raw, step)
                except ValueError:  # arguments that aren't JSON
                    return None

            assert answer(1) == answer(None) == answer(5), raw


@pytest.mark.parametrize("name", FORMATS)
def test_plain_text_stays_as_it_is(name: str) -> None:
    for text in ["", " ", "Hello.", "\n A < b, {x: 1} [2]; `c`\n", '{"a": 1}', "```json\n[1]\n```"]:
        for step in (None, 1):
            reader = tool_formats()[name].reader(TOOLS, thoughts=None, thinks=False)
            assert read(reader, text, step) == (text, "", [])
