from __future__ import annotations

import msgspec
import pytest

from server.openai.heading import SYSTEM_FINGERPRINT, Kind, new_id
from tests.server.openai.answers import heading


def test_ids_are_new_each_time() -> None:
    assert new_id("chat").startswith("chatcmpl-")
    assert new_id("text").startswith("cmpl-")
    assert len({new_id("chat") for _ in range(100)}) == 100


@pytest.mark.parametrize(
    ("kind", "streamed", "name"),
    [
        ("chat", False, "chat.completion"),
        ("chat", True, "chat.completion.chunk"),
        ("text", False, "text_completion"),
        ("text", True, "text_completion"),
    ],
)
def test_the_objects_name_tells_the_kind_and_streams_of_chats(kind: Kind, streamed: bool, name: str) -> None:
    body = msgspec.to_builtins(heading(kind).body([], streamed=streamed))
    assert body == {
        "id": "id",
        "object": name,
        "created": 5,
        "model": "demo",
        "system_fingerprint": SYSTEM_FINGERPRINT,
        "choices": [],
    }
