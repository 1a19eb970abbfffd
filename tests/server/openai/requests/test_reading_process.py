from __future__ import annotations

import io
import json
import threading
from collections.abc import Sequence
from typing import Any

import msgspec
import pytest

from models.errors import RequestError
from server.hosting.read import HostedRead
from server.ipc.frames import HEADER, decode_request, frame_parts
from server.ipc.messages import Generate, WorkerRequest
from server.ipc.prompts import ChatPrompt
from server.openai.errors import BodyTooLarge
from server.openai.requests import body_limits, reading_process
from server.openai.requests.reading import PooledRead, Purpose, QuestionRead, ReadJob, ReadRequest, read
from server.openai.requests.reading_process import LENGTH, head_of, joined, read_part
from server.responses.read import History, HistoryWanted

CHAT = {"messages": [{"role": "user", "content": "é, you"}], "logit_bias": {"5": False}, "stop": ["x"]}
REQUESTS: list[tuple[Purpose, dict[str, Any]]] = [
    ("chat", {**CHAT, "model": "demo", "stream": True, "n": 2, "zz": 1, "chat_template_kwargs": {"a": [1]}}),
    ("text", {"prompt": "a", "best_of": 3, "logprobs": 2, "echo": True, "lora": [{"id": 0, "scale": 0.5}]}),
    ("text", {"prompt": ["a", [1, 2], "b"], "temperature": 0, "priority": 2}),
    ("tokenize", {"content": "a", "with_pieces": True}),
    ("tokenize", {"prompt": "a"}),
    ("detokenize", {"tokens": [1, 2]}),
    ("apply_template", CHAT),
    ("embeddings", {"input": ["a", [1, "b"]], "dimensions": 2, "truncate": True, "zz": 1}),
    ("rerank", {"query": "q", "documents": ["a", {"text": "b", "n": 5}], "return_documents": True}),
    ("score", {"text_1": "a", "text_2": ["b", "c"]}),
    ("ollama_chat", {**CHAT, "model": "m", "think": True, "options": {"top_k": 4}, "zz": 1}),
    ("ollama_generate", {"model": "m", "prompt": "a", "context": [1, 2], "format": "json"}),
    ("ollama_embed", {"model": "m", "input": ["a", "b"], "options": {"num_ctx": 8}}),
    ("response", {"input": "a", "tools": [{"type": "function", "name": "f"}], "store": False, "zz": 1}),
]


def through_the_process(job: ReadJob, body: bytes, monkeypatch: pytest.MonkeyPatch) -> ReadRequest:
    """Return what comes back from `serve`, which runs here, over pipes that are files."""
    monkeypatch.setattr(reading_process, "_limit_memory", lambda: None)
    jobs, replies = io.BytesIO(), io.BytesIO()
    encoded = msgspec.msgpack.encode(job)
    jobs.write(LENGTH.pack(len(encoded)) + encoded + LENGTH.pack(len(body)) + body)
    jobs.seek(0)
    reading_process.serve(jobs, replies)
    replies.seek(0)
    (reader,) = LENGTH.unpack(replies.read(LENGTH.size))
    assert reader not in (0, threading.get_native_id()), "a thread of its own, which may be told to give way"
    first = read_part(replies)
    assert first is not None
    head = head_of(first)
    long = [part for _ in range(head.n_parts) if (part := read_part(replies)) is not None]
    assert replies.read() == b""
    return joined(head, long)


def messages_of(request: ReadRequest) -> list[WorkerRequest]:
    """Return the messages as a worker gets them."""
    assert not isinstance(request, HistoryWanted | HostedRead)
    if isinstance(request, PooledRead):
        sent: Sequence[WorkerRequest] = [request.pool]
    else:
        sent = [request.question] if isinstance(request, QuestionRead) else request.generates
    return [decode_request(b"".join(frame_parts(message))[HEADER.size :]) for message in sent]


@pytest.mark.parametrize(("purpose", "fields"), REQUESTS)
def test_a_process_reads_what_is_read_here(
    purpose: Purpose, fields: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    job = ReadJob(purpose=purpose, request_id="r", timeout_s=5.0)
    body = json.dumps(fields).encode()
    here, there = read(job, body), through_the_process(job, body, monkeypatch)
    assert messages_of(there) == messages_of(here)
    changed: dict[str, Any] = {"generates": []}
    if isinstance(here, QuestionRead | PooledRead):
        changed = {"question": None} if isinstance(here, QuestionRead) else {"pool": None}
    assert msgspec.structs.replace(there, **changed) == msgspec.structs.replace(here, **changed)


def test_a_request_that_asks_nothing_has_no_messages(monkeypatch: pytest.MonkeyPatch) -> None:
    job, body = ReadJob(purpose="ollama_chat"), b'{"model": "m", "keep_alive": "5m"}'
    there = through_the_process(job, body, monkeypatch)
    assert there == read(job, body)
    assert messages_of(there) == []


def test_a_process_says_which_history_is_wanted_and_reads_with_it(monkeypatch: pytest.MonkeyPatch) -> None:
    body = b'{"input":"b","previous_response_id":"resp_a","store":false}'
    wanted = through_the_process(ReadJob(purpose="response"), body, monkeypatch)
    assert wanted == HistoryWanted(previous_response_id="resp_a")
    history = History(items=[b'{"role":"user","content":"a"}'])
    there = through_the_process(ReadJob(purpose="response", history=history), body, monkeypatch)
    (generate,) = messages_of(there)
    assert isinstance(generate, Generate)
    assert isinstance(generate.prompt, ChatPrompt)
    assert [message["content"] for message in generate.prompt.messages] == ["a", "b"]


@pytest.mark.parametrize(
    ("purpose", "body", "param", "code"),
    [
        ("chat", b"{", None, "invalid_json"),
        ("chat", b'{"messages":[1]}', "messages[0]", "invalid_value"),
        ("text", b'{"prompt":"a","stop":[1]}', "stop", "invalid_value"),
        ("tokenize", b"{}", "content", "missing_required_parameter"),
        ("text", b"[" * 200, None, "nested_too_deep"),
        (
            "chat",
            b'{"messages":[{"role":"user","content":"x"}],"chat_template_kwargs":{"a":1%b}}' % (b"0" * 30),
            "chat_template_kwargs",
            None,
        ),
    ],
)
def test_refusals_come_back(
    purpose: Purpose, body: bytes, param: str | None, code: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = ReadJob(purpose=purpose)
    with pytest.raises(RequestError) as here:
        read(job, body)
    with pytest.raises(RequestError) as there:
        through_the_process(job, body, monkeypatch)
    assert str(there.value) == str(here.value)
    assert (there.value.param, there.value.code) == (here.value.param, here.value.code) == (param, code)


def test_bodies_with_too_much_are_413(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(BodyTooLarge, match="more than 1,000,000 values"):
        through_the_process(ReadJob(purpose="text"), b"[" + b"1," * 1_000_001, monkeypatch)


@pytest.mark.parametrize(("purpose", "fields"), REQUESTS)
def test_no_prompt_is_longer_than_allowed(
    purpose: Purpose, fields: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(body_limits, "MAX_PROMPT_BYTES", 1)
    monkeypatch.setattr(body_limits, "MAX_INPUTS_BYTES", 1)
    with pytest.raises(RequestError, match="the limit is 1; ") as caught:
        through_the_process(ReadJob(purpose=purpose), json.dumps(fields).encode(), monkeypatch)
    assert caught.value.code == "prompt_too_large"
