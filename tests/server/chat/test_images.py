from __future__ import annotations

import base64
from typing import Any

import msgspec
import pytest

from models.errors import RequestError
from server.anthropic.requests.history import conversation
from server.anthropic.requests.schemas import InputMessage
from server.chat.content_parts import joined_text
from server.chat.images import ChatImages
from server.images.limits import MAX_BYTES, MAX_IMAGES
from server.ipc.prompts import ChatPrompt
from server.openai.requests.reading import ReadJob, read
from server.openai.requests.reading_process import parts_of
from server.responses.items import messages_of
from tests.server.images.samples import encoded, fields

PNG = encoded(fields())
URL = "data:image/png;base64," + base64.b64encode(PNG).decode()
TEXT = {"type": "text", "text": "a"}


def shown(text: str, images: ChatImages) -> str:
    """A content with its marks as numbers in brackets."""
    for number in range(len(images.found)):
        text = text.replace(f"{images.mark}{number:07d}", f"[{number}]")
    return text


def test_marks_stand_at_the_places_of_images_and_texts_apart() -> None:
    images = ChatImages()
    image = {"type": "image_url", "image_url": {"url": URL, "detail": "low"}}
    text = joined_text([TEXT, TEXT, image, TEXT, image, image, TEXT, TEXT], "c", images=images)
    assert shown(text, images) == "a\na[0]a[1][2]a\na"
    assert [one.data for one in images.found] == [PNG] * 3
    assert [one.param for one in images.found] == ["c[2]", "c[4]", "c[5]"]
    assert len(images.mark) == 24
    assert ChatImages().mark == ""


@pytest.mark.parametrize(
    "part",
    [
        {"type": "image_url", "image_url": {"url": URL}},
        {"type": "image_url", "image_url": URL},
        {"type": "image_url", "image_url": URL.replace(";base64", ";name=x;BASE64")},
        {"type": "input_image", "image_url": URL, "detail": "auto", "file_id": None},
        {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": URL.split(",")[1]}},
    ],
)
def test_the_forms_of_all_protocols(part: dict[str, Any]) -> None:
    images = ChatImages()
    images.take(part, "p")
    assert images.found[0].data == PNG


def test_addresses_go_to_the_worker_as_they_are() -> None:
    images = ChatImages()
    address = "https://example.org/a.png"
    images.take({"type": "image_url", "image_url": {"url": address}}, "p")
    images.take({"type": "image", "source": {"type": "url", "url": address}}, "p")
    assert [(one.url, one.data) for one in images.found] == [(address, b"")] * 2


@pytest.mark.parametrize(
    ("part", "param"),
    [
        ({"type": "image_url"}, "p.image_url"),
        ({"type": "image_url", "image_url": {}}, "p.image_url.url"),
        ({"type": "image_url", "image_url": {"url": 5}}, "p.image_url.url"),
        ({"type": "image_url", "image_url": {"url": "file:///etc/passwd"}}, "p.image_url.url"),
        ({"type": "image_url", "image_url": {"url": "data:image/png,abc"}}, "p.image_url.url"),
        ({"type": "image_url", "image_url": {"url": "data:image/png;base64"}}, "p.image_url.url"),
        ({"type": "image_url", "image_url": {"url": "data:image/png;base64,"}}, "p.image_url.url"),
        ({"type": "image_url", "image_url": {"url": "data:image/png;base64,a?"}}, "p.image_url.url"),
        ({"type": "input_image", "file_id": "f"}, "p.file_id"),
        ({"type": "input_image"}, "p.image_url"),
        ({"type": "image"}, "p.source"),
        ({"type": "image", "source": {"type": "file", "file_id": "f"}}, "p.source.type"),
        ({"type": "image", "source": {"type": "base64", "data": 1}}, "p.source.data"),
        ({"type": "image", "source": {"type": "url", "url": "x"}}, "p.source.url"),
    ],
)
def test_what_is_no_image_is_named(part: dict[str, Any], param: str) -> None:
    with pytest.raises(RequestError) as caught:
        ChatImages().take(part, "p")
    assert caught.value.param == param


def test_too_many_and_too_large_ones_are_refused() -> None:
    images = ChatImages()
    for _ in range(MAX_IMAGES):
        images.take_base64("aGk=", "p")
    with pytest.raises(RequestError, match="more than 64 images"):
        images.take_base64("aGk=", "p")
    with pytest.raises(RequestError, match="20,971,520 bytes"):
        ChatImages().take_base64("A" * (4 * MAX_BYTES // 3 + 8), "p")


def prompt_of(purpose: Any, body: dict[str, Any]) -> ChatPrompt:
    found: Any = read(ReadJob(purpose=purpose, request_id="r"), msgspec.json.encode({"model": "m", **body}))
    prompt = found.generates[0].prompt
    assert isinstance(prompt, ChatPrompt)
    return prompt


@pytest.mark.parametrize(
    ("purpose", "body"),
    [
        (
            "chat",
            {"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": URL}, TEXT]}]},
        ),
        (
            "messages",
            {
                "max_tokens": 5,
                "messages": [
                    {
                        "role": "user",
                        "content": [
                            {"type": "image", "source": {"type": "base64", "data": URL.split(",")[1]}},
                            TEXT,
                        ],
                    }
                ],
            },
        ),
        (
            "response",
            {
                "input": [
                    {
                        "role": "user",
                        "content": [
                            {"type": "input_image", "image_url": URL},
                            {"type": "input_text", "text": "a"},
                        ],
                    }
                ]
            },
        ),
        ("ollama_chat", {"messages": [{"role": "user", "content": "a", "images": [URL.split(",")[1]]}]}),
        ("ollama_generate", {"prompt": "a", "images": [URL.split(",")[1]]}),
    ],
)
def test_every_protocol_makes_the_same_prompt(purpose: str, body: dict[str, Any]) -> None:
    prompt = prompt_of(purpose, body)
    assert [message["role"] for message in prompt.messages] == ["user"]
    assert prompt.messages[0]["content"] == f"{prompt.image_mark}0000000a"
    assert [image.data for image in prompt.images] == [PNG]


def test_images_of_tools_results() -> None:
    calls = [{"type": "tool_use", "id": "t", "name": "f", "input": {}}]
    image = {"type": "image", "source": {"type": "base64", "data": "aGk="}}
    result = {"type": "tool_result", "tool_use_id": "t", "content": [TEXT, image]}
    chat = conversation(
        None,
        [
            InputMessage.model_validate({"role": "user", "content": "x"}),
            InputMessage.model_validate({"role": "assistant", "content": calls}),
            InputMessage.model_validate({"role": "user", "content": [result]}),
        ],
    )
    assert shown(chat.messages[-1]["content"], chat.images) == "a[0]"
    images = ChatImages()
    items: list[dict[str, Any]] = [
        {"type": "function_call", "call_id": "t", "name": "f", "arguments": "{}"},
        {
            "type": "function_call_output",
            "call_id": "t",
            "output": [{"type": "input_image", "image_url": URL}],
        },
    ]
    messages, _ = messages_of(items, images=images)
    assert shown(messages[-1]["content"], images) == "[0]"


@pytest.mark.parametrize("role", ["system", "assistant"])
def test_others_say_no_images(role: str) -> None:
    body = {"messages": [{"role": role, "content": [{"type": "image_url", "image_url": URL}]}]}
    with pytest.raises(RequestError, match="in messages of the user"):
        prompt_of("chat", body)


def test_images_dont_count_as_a_prompts_text() -> None:
    large = "data:image/png;base64," + base64.b64encode(bytes(9 << 20)).decode()
    body = {
        "model": "m",
        "messages": [{"role": "user", "content": [{"type": "image_url", "image_url": large}]}],
    }
    found = read(ReadJob(purpose="chat", request_id="r"), msgspec.json.encode(body))
    assert len(parts_of(found)[1]) > 9 << 20
