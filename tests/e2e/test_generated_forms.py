"""A model of random weights under generated schemas, through the product: what finishes is valid."""

from __future__ import annotations

import asyncio
import random

import pytest

from tests.e2e.guided_answers import generate
from tests.e2e.running import RunningServer
from tests.schema_generator import schemas

pytestmark = [pytest.mark.e2e, pytest.mark.model]


@pytest.mark.timeout(3000)
@pytest.mark.parametrize("wanted", [30, pytest.param(2000, marks=pytest.mark.thorough)])
def test_what_finishes_is_valid(forms_server: RunningServer, wanted: int) -> None:
    drawn = schemas(n=300)
    random.Random(3).shuffle(drawn)
    (worker,) = forms_server.workers()
    tally = asyncio.run(generate(forms_server.url, drawn, wanted))
    assert not tally.wrong, tally.wrong[:3]
    assert not tally.refusals
    assert tally.finished >= wanted, tally
    assert [process.pid for process in forms_server.workers()] == [worker.pid]
