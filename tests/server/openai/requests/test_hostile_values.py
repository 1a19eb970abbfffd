"""Each field of each protocol's requests with values that nobody should send: an answer or a refusal."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any, get_args

import msgspec
import pytest
from pydantic import BaseModel

from models.errors import CorralError
from server.anthropic.requests.schemas import CountTokensRequest, MessagesRequest
from server.embeddings.read import SCHEMAS, PooledPurpose
from server.llama_server.schemas import InfillRequest, NativeCompletionRequest
from server.ollama.schemas import OllamaChatRequest, OllamaGenerateRequest
from server.openai.requests.reading import ReadJob, read
from server.openai.requests.schemas import (
    ApplyTemplateRequest,
    ChatCompletionRequest,
    CompletionRequest,
    DetokenizeRequest,
    TokenizeRequest,
)
from server.responses.schemas import ResponsesRequest

HUGE = "1" + "0" * 400
NUMBERS = [
    *("0", "-1", "1.5", "1e308", "-1e308", "5e-324", "1e400", "-1e400", "NaN", "Infinity", HUGE, f"-{HUGE}"),
    *("2147483647", "2147483648", "4294967296", "9223372036854775807", "9223372036854775808"),
    *("-9223372036854775809", "18446744073709551616"),
]
DEEP = "[" * 60 + "]" * 60
OTHERS = [
    *("null", "true", "false", '""', '"x"', r'"\ud800"', r'"\u0000"', f'"{HUGE}"', '"' + "a" * 5000 + '"'),
    *("[]", "{}", "[null]", "[[]]", "[{}]", r'["\ud800"]', r'{"\ud800": 1}', '{"a": null}', DEEP),
    *('[{"role": "user", "content": [null]}]', '[{"role": "assistant", "tool_calls": [{"id": 1}]}]'),
    *('[{"type": "message"}]', '[{"type": "function_call_output", "call_id": null}]'),
]
AROUND = [
    *("[%s]", "[[0, %s]]", '{"0": %s}', '[{"id": 0, "scale": %s}]', '[{"id": %s, "scale": 1}]'),
    *('{"num_predict": %s}', '{"temperature": %s}', '{"seed": %s}', '{"include_usage": %s}'),
    *('{"type": "enabled", "budget_tokens": %s}', '{"type": "integer", "multipleOf": %s}'),
    '{"type": "json_schema", "json_schema": {"name": "x", "schema": {"minimum": %s, "maxLength": %s}}}',
    '[{"type": "function", "function": {"name": "f", "parameters": {"properties": {"a": {"const": %s}}}}}]',
]
VALUES = [
    *NUMBERS,
    *OTHERS,
    *(form.replace("%s", number) for form in AROUND for number in ("1e308", "1e400", HUGE, f"-{HUGE}")),
]
MESSAGES: dict[str, Any] = {"messages": [{"role": "user", "content": "Hi"}]}
LEAST: dict[str, tuple[type[BaseModel], dict[str, Any]]] = {
    "chat": (ChatCompletionRequest, MESSAGES),
    "count_chat": (ChatCompletionRequest, MESSAGES),
    "apply_template": (ApplyTemplateRequest, MESSAGES),
    "text": (CompletionRequest, {"prompt": "Hi"}),
    "native": (NativeCompletionRequest, {"prompt": "Hi"}),
    "infill": (InfillRequest, {"input_prefix": "a", "input_suffix": "b"}),
    "response": (ResponsesRequest, {"input": "Hi"}),
    "tokenize": (TokenizeRequest, {"content": "Hi"}),
    "detokenize": (DetokenizeRequest, {"tokens": [1]}),
    "messages": (MessagesRequest, MESSAGES | {"max_tokens": 9}),
    "count_tokens": (CountTokensRequest, MESSAGES),
    "ollama_chat": (OllamaChatRequest, MESSAGES),
    "ollama_generate": (OllamaGenerateRequest, {"prompt": "Hi"}),
}
POOLED: dict[str, Any] = {
    "embed": {"inputs": "Hi"},
    "embed_all": {"inputs": "Hi"},
    "rerank": {"query": "Hi", "documents": ["Ho"]},
    "score": {"text_1": "Hi", "text_2": "Ho"},
    "ollama_embeddings": {"prompt": "Hi"},
}
LEAST |= {
    purpose: (SCHEMAS[purpose], POOLED.get(purpose, {"input": "Hi"})) for purpose in get_args(PooledPurpose)
}


def bodies(schema: type[BaseModel], least: dict[str, Any]) -> Iterator[str]:
    names = {each for name, field in schema.model_fields.items() for each in (name, field.alias or name)}
    for name in sorted(names):
        rest = [f"{json.dumps(key)}: {json.dumps(value)}" for key, value in least.items() if key != name]
        for value in VALUES:
            yield "{" + ", ".join([*rest, f"{json.dumps(name)}: {value}"]) + "}"


@pytest.mark.parametrize("purpose", LEAST)
def test_what_is_read_travels_to_a_worker_or_is_refused(purpose: str) -> None:
    n_read = 0
    for body in bodies(*LEAST[purpose]):
        job = msgspec.structs.replace(ReadJob(purpose="chat"), purpose=purpose)
        try:
            outcome = read(job, body.encode())
        except CorralError:
            continue
        except Exception as error:
            raise AssertionError(body[:300]) from error
        assert msgspec.msgpack.encode(outcome), body[:300]
        n_read += 1
    assert n_read
