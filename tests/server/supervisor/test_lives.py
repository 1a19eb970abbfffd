"""The models' lives on a clock that jumps: who is unloaded when, and that nobody is forgotten."""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Callable, Coroutine
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import pytest

from server.engine.events import Event, Finish
from server.supervisor.catalogue import Catalogue, CatalogueEntry
from server.supervisor.event_iterator import iterate
from server.supervisor.life import LifeSettings
from server.supervisor.lives import ModelLives
from server.supervisor.memory_advice import MemoryAdvice
from server.supervisor.policy import Policy
from server.supervisor.supervisor import Supervisor
from tests.server.supervisor.conftest import request, spec_of
from tests.server.supervisor.virtual import Machine, run

GIB = 1 << 30
NAMES = ("one", "two", "three")


class House:
    """A supervisor of three models on a machine with room for two."""

    def __init__(self, lives: LifeSettings | None = None, **policy: Any) -> None:
        self.machine = Machine(
            memory_bytes=7 * GIB,
            sizes=dict.fromkeys(NAMES, 3 * GIB),
            load_s={"one": 2.0, "two": 5.0, "three": 1.0},
        )
        entries = [CatalogueEntry(name, Path(f"{name}.gguf"), "Q8_0", 3 * GIB, 1) for name in NAMES]
        self.supervisor = Supervisor(
            Catalogue((), lambda: entries),
            spec_of,
            policy=replace(Policy(lives=lives or LifeSettings()), **policy),
            memory=MemoryAdvice(self.machine.need),
        )
        spawn: Any = self.machine.spawn
        self.supervisor._hosting = replace(self.supervisor._hosting, spawn=spawn)
        self.n_asked = 0
        self.ends: dict[str, float] = {}

    @property
    def loaded(self) -> list[str]:
        return sorted(key.partition(":")[0] for key in self.supervisor.pids)

    async def ask(self, name: str, seconds: float = 0.1, keep_alive_s: float | None = None) -> Event:
        self.n_asked += 1
        asked = msgspec.structs.replace(request(str(seconds), f"r{self.n_asked}"), keep_alive_s=keep_alive_s)
        events = [event async for event in iterate(self.supervisor.generate(name, asked))]
        self.ends[name] = now_s()
        return events[-1]


def now_s() -> float:
    return asyncio.get_running_loop().time()


def play(
    scene: Callable[..., Coroutine[Any, Any, None]], lives: LifeSettings | None = None, **policy: Any
) -> House:
    async def whole() -> House:
        house = House(lives, **policy)
        await scene(house)
        await house.supervisor.stop(0.0)
        assert not house.machine.workers
        return house

    return run(whole())


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("pinned", [(), ("two",)])
def test_a_thousand_random_requests(
    seed: int, pinned: tuple[str, ...], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "corral.supervisor")
    dice = random.Random(seed)

    async def one(house: House, at_s: float) -> Event:
        await asyncio.sleep(at_s)
        name = dice.choice(NAMES)
        keep_alive_s = dice.choice((None, None, None, 0.0, 5.0, 45.0, float("inf")))
        return await house.ask(name, dice.expovariate(1 / 2.0), keep_alive_s)

    async def scene(house: House) -> None:
        times, at_s = [], 0.0
        for _ in range(1000):
            at_s += dice.expovariate(1.0) if dice.random() > 0.02 else 120.0  # with nights between the days
            times.append(at_s)
        ends = await asyncio.gather(*(one(house, at_s) for at_s in times))
        assert [type(end) for end in ends] == [Finish] * 1000

    house = play(scene, LifeSettings(keep_alive_s=60.0, pinned=pinned))
    gone = [name for _, name in house.machine.drained[: -len(house.loaded) or None]]
    assert len(gone) > 20
    text = [record.getMessage() for record in caplog.records]
    assert any("to make room for" in line for line in text)
    assert any("was idle for" in line for line in text)
    for name in pinned:
        assert not any(line.startswith(f"unloading {name}:") for line in text)


def test_the_idle_time_begins_with_the_end_of_the_last_request() -> None:
    async def scene(house: House) -> None:
        asks = [house.ask("one", 30.0), house.ask("one", 90.0)]
        await asyncio.gather(*asks)
        assert house.ends["one"] == pytest.approx(92.0, abs=0.5)
        await asyncio.sleep(59.0)
        assert house.loaded == ["one"]
        await house.ask("one")
        await asyncio.sleep(59.0)
        assert house.loaded == ["one"]
        await asyncio.sleep(2.0)
        assert house.loaded == []
        [(gone_s, _)] = house.machine.drained
        assert gone_s - house.ends["one"] == pytest.approx(60.0, abs=1.0)

    play(scene, LifeSettings(keep_alive_s=60.0))


@pytest.mark.parametrize(
    ("asked_s", "lives", "stays_s"),
    [
        (5.0, LifeSettings(), 5.0),
        (0.0, LifeSettings(), 0.0),
        (None, LifeSettings(keep_alive_s=30.0, keep_alives_s={"one": 10.0}), 10.0),
        (None, LifeSettings(keep_alive_s=30.0, keep_alives_s={"one": 10.0, "one:Q8_0": 20.0}), 20.0),
        (5.0, LifeSettings(keep_alive_s=30.0, keep_alives_s={"one": 10.0}), 5.0),
    ],
)
def test_whose_time_counts(asked_s: float | None, lives: LifeSettings, stays_s: float) -> None:
    async def scene(house: House) -> None:
        await house.ask("one", keep_alive_s=asked_s)
        await asyncio.sleep(stays_s + 1.0)
        assert house.loaded == []
        assert house.machine.drained[0][0] - house.ends["one"] == pytest.approx(stays_s, abs=1.0)

    play(scene, lives)


def test_what_a_request_asks_for_is_forgotten_with_the_load_and_may_be_for_ever() -> None:
    async def scene(house: House) -> None:
        await house.ask("one", keep_alive_s=float("inf"))
        await house.ask("one")  # which doesn't say anything else
        await asyncio.sleep(3600.0)
        assert house.loaded == ["one"]
        await ModelLives(house.supervisor).unload("one")
        await house.ask("one")
        await asyncio.sleep(61.0)
        assert house.loaded == []

    play(scene, LifeSettings(keep_alive_s=60.0))


def test_models_that_swap_take_turns_and_those_that_wait_are_served() -> None:
    waits: dict[str, list[float]] = {name: [] for name in NAMES}

    async def client(house: House, name: str, until_s: float) -> None:
        while now_s() < until_s:
            began_s = now_s()
            assert isinstance(await house.ask(name, 3.0), Finish)
            waits[name].append(now_s() - began_s - 3.0)

    async def scene(house: House) -> None:
        await asyncio.gather(*(client(house, name, 600.0) for name in NAMES for _ in range(3)))

    house = play(scene)
    assert house.machine.drained
    for name in NAMES:
        assert len(waits[name]) > 100, "it is starved"
        assert max(waits[name]) < 3 * (Policy().turn_s + 3.0 + 5.0 + 1.0)


def test_a_pinned_model_and_one_that_answers_stay() -> None:
    async def scene(house: House) -> None:
        await house.ask("one")
        long = asyncio.create_task(house.ask("two", 300.0))
        await asyncio.sleep(10.0)
        await house.ask("three")
        assert house.loaded == ["three", "two"]  # the idle one went
        lives = ModelLives(house.supervisor)
        await lives.pin("three", pinned=True)
        late = asyncio.create_task(house.ask("one"))
        await asyncio.sleep(200.0)
        assert not late.done()
        assert house.loaded == ["three", "two"]
        assert isinstance(await long, Finish)
        assert isinstance(await late, Finish)
        assert house.loaded == ["one", "three"]
        await lives.pin("three", pinned=False)
        await house.ask("two")
        assert "two" in house.loaded

    play(scene)


def test_an_unpinned_model_goes_by_the_time_it_has_been_idle() -> None:
    async def scene(house: House) -> None:
        lives = ModelLives(house.supervisor)
        await lives.load("one", pin=True)
        await asyncio.sleep(100.0)
        assert house.loaded == ["one"]
        await lives.pin("one", pinned=False)
        await asyncio.sleep(1.0)
        assert house.loaded == []

    play(scene, LifeSettings(keep_alive_s=60.0))


def test_unloading_waits_for_what_runs_and_loses_nothing() -> None:
    async def scene(house: House) -> None:
        running = asyncio.create_task(house.ask("one", 20.0))
        await asyncio.sleep(5.0)
        unloading = asyncio.create_task(ModelLives(house.supervisor).unload("one"))
        await asyncio.sleep(1.0)
        late = asyncio.create_task(house.ask("one"))
        await asyncio.sleep(1.0)
        assert house.supervisor.host("one").n_waiting == 1
        assert isinstance(await running, Finish)
        await unloading
        assert isinstance(await late, Finish)
        assert len(house.machine.drained) == 1

    play(scene)


def test_a_limit_of_pinned_models_is_an_error_that_says_so() -> None:
    async def scene(house: House) -> None:
        await house.ask("one")
        with pytest.raises(Exception, match=r"1 models are loaded, which is the limit .* all are pinned"):
            await house.ask("two")
        await ModelLives(house.supervisor).pin("one", pinned=False)
        await asyncio.sleep(Policy().failed_retry_s)
        assert isinstance(await house.ask("two"), Finish)

    play(scene, LifeSettings(pinned=("one",)), max_loaded=1)


def test_models_are_loaded_at_the_start_and_a_wrong_name_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    async def scene(house: House) -> None:
        house.supervisor.start()
        assert house.supervisor.ready()  # they are nobody's condition
        await asyncio.sleep(20.0)
        assert house.loaded == ["one", "two"]

    play(scene, preload=("one:q8_0", "four", "two"))
    assert "The model `four` does not exist" in caplog.text
