from __future__ import annotations

import re

from server.chat.call_ids import new_call_id, own_ids


def test_ids_never_repeat_and_keep_the_models_own() -> None:
    assert len({new_call_id("000000000") for _ in range(1000)}) == 1000
    assert re.fullmatch(r"call_[0-9a-f]{24}_a1B2c3D4e", new_call_id("a1B2c3D4e"))
    for own in (None, "", "functions.look_up:0", "x" * 33):
        assert re.fullmatch(r"call_[0-9a-f]{24}", new_call_id(own))


def test_the_models_own_ids_are_found_again_in_every_protocol() -> None:
    first, second = new_call_id("a1B2c3D4e"), new_call_id("f5")
    anthropic = f"toolu_{second.removeprefix('call_')}"
    assert own_ids([first, anthropic, new_call_id(), "call_1_a"]) == {first: "a1B2c3D4e", anthropic: "f5"}


def test_an_own_id_of_two_calls_tells_neither() -> None:
    assert own_ids([new_call_id("0"), new_call_id("0")]) == {}
