from __future__ import annotations

import pytest

from models.errors import RequestError
from server.engine.request import EngineRequest
from server.engine.sampling_params import SamplingParams
from server.ipc.messages import Generate
from server.ipc.prompts import TextPrompt
from server.worker.pending import Pending, Prepared


def generate(name: str, *adapters: int) -> Generate:
    uses = tuple((adapter, 1.0) for adapter in adapters)
    return Generate(id=name, prompt=TextPrompt("x"), params=SamplingParams(), adapters=uses)


def prepared(name: str) -> EngineRequest:
    return EngineRequest(id=name, prompt_tokens=[1], params=SamplingParams())


def test_a_request_is_handed_on_or_closed_but_not_both() -> None:
    pending, handed_on = Pending(), list[Prepared]()
    for name in ("first", "cancelled", "closed"):
        request = pending.add(generate(name))
        assert request is not None
        if name == "cancelled":
            assert pending.cancel(name)
        elif name == "closed":
            assert pending.close(request)
        assert pending.hand_on(request, prepared(name), handed_on.append) == (name == "first")
        assert not request.open
        assert not pending.close(request)
        assert not pending.cancel(name)
        assert len(pending) == 0
    assert [request.id for request in handed_on] == ["first"]


def test_an_id_is_free_again_when_its_request_has_left() -> None:
    pending = Pending()
    assert pending.add(generate("a"))
    with pytest.raises(RequestError, match="ids must be unique"):
        pending.add(generate("a"))
    assert pending.cancel("a")
    assert pending.add(generate("a"))


def test_nothing_is_taken_after_shutting_and_what_was_taken_can_be_ended() -> None:
    pending = Pending()
    pending.add(generate("a"))
    pending.add(generate("b"))
    pending.shut()
    assert pending.add(generate("c")) is None
    assert pending.close_all() == ["a", "b"]
    assert len(pending) == 0


def test_an_adapter_waits_for_the_requests_that_came_before_and_use_it() -> None:
    pending, happened = Pending(), list[str]()
    first, second, other = (pending.add(generate(*uses)) for uses in (("a", 1), ("b", 1, 2), ("c", 2)))
    assert first
    assert second
    assert other
    pending.after(1, lambda: happened.append("unload 1"))
    pending.after(3, lambda: happened.append("unload 3"))
    assert happened == ["unload 3"]
    later = pending.add(generate("d", 1))
    assert later
    pending.hand_on(first, prepared("a"), lambda request: happened.append(request.id))
    assert happened == ["unload 3", "a"]
    pending.cancel("b")
    assert happened == ["unload 3", "a", "unload 1"]
    pending.hand_on(later, prepared("d"), lambda request: happened.append(request.id))
    assert happened[-1] == "d"
