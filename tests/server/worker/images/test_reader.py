from __future__ import annotations

from typing import Any, cast

import pytest

from models.errors import RequestError, WorkerBusy
from models.llamacpp.projector import ImageChunk
from server.engine.images import without_images
from server.ipc.chat_image import ChatImage
from server.worker.images import reader
from server.worker.images.reader import ReadImage, SeenImages, _LiveTokens, shifted

MARK = "123456789012345678901234"


class Chunk(ImageChunk):
    """A chunk without its pixels."""

    def __init__(self, n_tokens: int) -> None:
        self.n_tokens = self.n_positions = n_tokens


def seen(*images: list[Any]) -> SeenImages:
    return SeenImages(
        MARK,
        [ReadImage(ChatImage(param=f"messages[{i}]"), pieces, b"%d" % i) for i, pieces in enumerate(images)],
    )


def letters(text: str) -> list[int]:
    return [ord(letter) for letter in text]


def test_images_stand_where_their_marks_were() -> None:
    images = seen([[1], Chunk(4), [2]], [Chunk(2), [3], Chunk(3)])
    tokens, spans = images.tokens(f"ab{MARK}0000000c{MARK}0000001", letters)
    assert without_images(tokens) == [*letters("ab"), 1, 2, *letters("c"), 3]
    assert [(span.start, span.n_tokens) for span in spans] == [(3, 4), (9, 2), (12, 3)]
    assert [(span.start, span.n_tokens) for span in shifted(spans, 2)] == [(5, 4), (11, 2), (14, 3)]
    again, _ = images.tokens(f"{MARK}0000000{MARK}0000000", letters)
    assert again[1:5] == again[7:11] == tokens[3:7]
    assert tokens[9:11] != tokens[12:14]


def test_an_image_that_a_template_drops_is_named() -> None:
    images = seen([Chunk(1)], [Chunk(1)])
    messages: list[dict[str, object]] = [
        {"role": "user", "content": f"{MARK}0000000"},
        {"role": "user", "content": f"a{MARK}0000001"},
    ]
    images.check_shown(f"x{MARK}0000001{MARK}0000000", messages)
    images.check_shown(f"x{MARK}0000001", messages[1:])
    with pytest.raises(RequestError, match=r"drops the image of 'messages\[0\]'"):
        images.check_shown(f"x{MARK}0000001", messages)


def test_live_images_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reader, "LIVE_TOKENS_MAX", 10)
    live = _LiveTokens()
    first, second = Chunk(6), Chunk(4)
    live.add(first)
    live.add(second)
    with pytest.raises(WorkerBusy, match="try again later"):
        live.add(Chunk(1))
    del first
    live.add(cast("ImageChunk", Chunk(6)))
