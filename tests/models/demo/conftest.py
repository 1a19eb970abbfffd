"""The questions of the demo's evaluation, made once per test run: it takes seconds."""

from __future__ import annotations

import pytest

from models.demo.training.corpus import Question, questions


@pytest.fixture(scope="session")
def evaluation() -> list[Question]:
    return questions()
