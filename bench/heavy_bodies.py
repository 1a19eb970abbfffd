"""`heavy_bodies`: requests as large as a server allows, one for each kind of value."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from server.openai.requests.body_limits import MAX_CONTAINERS, MAX_DEPTH, MAX_ELEMENTS, MAX_PROMPT_BYTES

BODY_BYTES = 32 << 20
"""The largest body that a server reads unless it is told otherwise."""
_TEXT = b"The quick brown fox jumps over the lazy dog, 123. "
_MESSAGE = b'{"role":"user","content":"hi"}'
_N = MAX_ELEMENTS - 1_000
_N_OBJECTS = MAX_CONTAINERS - 1_000


@dataclass(frozen=True)
class HeavyBody:
    """One request. `statuses` are those of a server that serves it, or says that it is too much.

    `make` takes a number n and returns a body of an n-th of what is allowed: 1 for the heaviest. A body that
    is beyond a limit stays beyond it.
    """

    name: str
    path: str
    make: Callable[[int], bytes]
    statuses: tuple[int, ...] = (200, 400)


def heavy_bodies() -> list[HeavyBody]:
    """Return a body for each kind of value, and some beyond what is allowed; none is made yet."""
    chat, text, responses = "/v1/chat/completions", "/v1/completions", "/v1/responses"
    return [
        HeavyBody("text of many tokens", "/tokenize", lambda n: _text(b"content", 3_900_000 // n)),
        HeavyBody(
            "tokens with pieces",
            "/tokenize",
            lambda n: _text(b"content", 3_900_000 // n, b'"with_pieces":true'),
        ),
        HeavyBody("text beyond any", "/tokenize", lambda n: _text(b"content", _beyond(n)), (400,)),
        HeavyBody("token ids", "/detokenize", lambda n: _object(b'"tokens":' + _array(b"300", _N // n))),
        HeavyBody(
            "too many ids",
            "/detokenize",
            lambda n: _object(b'"tokens":' + _array(b"300", 8_000_000 // n)),
            (413,),
        ),
        HeavyBody("messages to render", "/apply-template", lambda n: _messages(_many_messages(n))),
        HeavyBody("text to render", "/apply-template", lambda n: _messages(_array(_long_message(n), 1))),
        HeavyBody("messages", chat, lambda n: _messages(_many_messages(n))),
        HeavyBody("hosted messages", "/invocations", lambda n: _messages(_many_messages(n))),
        HeavyBody(
            "instances",
            "/invocations",
            lambda n: _object(b'"instances":[{"messages":' + _many_messages(n) + b"}]"),
        ),
        HeavyBody("parts", chat, lambda n: _messages(_array(_parts(_N_OBJECTS // n), 1))),
        HeavyBody("no messages", chat, lambda n: _messages(_array(b"1", _N // n)), (400,)),
        HeavyBody("unknown fields", chat, lambda n: _messages(_array(_MESSAGE, 1), _members(_N // n))),
        HeavyBody(
            "template arguments", chat, lambda n: _messages(_array(_MESSAGE, 1), _arguments(_N // 2 // n))
        ),
        HeavyBody("no tools", chat, lambda n: _messages(_array(_MESSAGE, 1), b'"tools":' + _empty(n))),
        HeavyBody("tools", chat, lambda n: _messages(_array(_MESSAGE, 1), b'"tools":' + _tools(100 // n))),
        HeavyBody(
            "calls", chat, lambda n: _messages(_array(_MESSAGE, 1)[:-1] + b"," + _calls(30_000 // n) + b"]")
        ),
        HeavyBody("items", responses, lambda n: _object(b'"input":' + _many_messages(n))),
        HeavyBody("longest input", responses, lambda n: _text(b"input", MAX_PROMPT_BYTES // n - 999)),
        HeavyBody(
            "longest instructions",
            responses,
            lambda n: _text(b"instructions", MAX_PROMPT_BYTES // n - 999, b'"input":"a"'),
        ),
        HeavyBody("tools of a response", responses, lambda n: _text(b"input", 9, b'"tools":' + _empty(n))),
        HeavyBody("depth", chat, lambda n: b"[" * (BODY_BYTES // n - 99), (400, 413)),
        HeavyBody("allowed depth", chat, lambda _: _messages(_array(_MESSAGE, 1), _nested(MAX_DEPTH - 2))),
        HeavyBody("prompts", text, lambda n: _prompt(_array(b'"' + _TEXT * (600 // n) + b'"', 1_024))),
        HeavyBody("short prompts", text, lambda n: _prompt(_array(b'"a"', 1_024 // n), b'"n":2')),
        HeavyBody("objects for prompts", text, lambda n: _prompt(_empty(n)), (400,)),
        HeavyBody("prompt of ids", text, lambda n: _prompt(_array(b"300", _N // n))),
        HeavyBody(
            "longest prompt", text, lambda n: _prompt(b'"' + _TEXT * (MAX_PROMPT_BYTES // 51 // n) + b'"')
        ),
        HeavyBody("escapes", text, lambda n: _prompt(b'"' + b'\\"\\\\' * (_beyond(n) // 4) + b'"'), (400,)),
        HeavyBody(
            "biases", text, lambda n: _prompt(b'"a"', b'"logit_bias":{' + _members(_N // n) + b"}"), (400,)
        ),
        HeavyBody("biases of prompts", text, lambda n: _prompt(_array(b'"a"', 300 // n), _biases(9_000))),
        HeavyBody("stops", text, lambda n: _prompt(b'"a"', b'"stop":' + _array(b'"a"', _N // n))),
        HeavyBody(
            "breakers",
            text,
            lambda n: _prompt(b'"a"', b'"dry_sequence_breakers":' + _array(b'""', _N // n)),
            (400,),
        ),
        HeavyBody("adapters of a request", text, lambda n: _prompt(b'"a"', b'"lora":' + _empty(n))),
        HeavyBody(
            "digits", text, lambda n: _prompt(b'"a"', b'"seed":' + b"9" * (BODY_BYTES // n - 99)), (400,)
        ),
        HeavyBody(
            "scales", "/lora-adapters", lambda n: _array(b'{"id":0,"scale":1}', 900_000 // n), (400, 413)
        ),
        HeavyBody("path", "/admin/adapters", lambda n: _text(b"path", BODY_BYTES // n - 99), (400, 413)),
    ]


def _beyond(n: int) -> int:
    """Return bytes of a text that no request may have: most of a body, or an n-th if that is still beyond."""
    return max(BODY_BYTES // n - 99, 2 * MAX_PROMPT_BYTES + 99)


def _many_messages(n: int) -> bytes:
    return _array(_MESSAGE, _N_OBJECTS // n)


def _empty(n: int) -> bytes:
    """Return an array of as many empty objects as are allowed, or an n-th of them."""
    return _array(b"{}", _N_OBJECTS // n)


def _array(value: bytes, n: int) -> bytes:
    return b"[" + b",".join([value] * n) + b"]"


def _object(*members: bytes) -> bytes:
    return b"{" + b",".join(member for member in members if member) + b"}"


def _members(n: int) -> bytes:
    return b",".join([b'"%d":1' % i for i in range(n)])


def _text(name: bytes, n_bytes: int, more: bytes = b"") -> bytes:
    return _object(b'"%b":"%b"' % (name, _TEXT * (n_bytes // len(_TEXT) - 2)), more)


def _messages(messages: bytes, more: bytes = b"") -> bytes:
    return _object(b'"max_tokens":1', b'"messages":' + messages, more)


def _prompt(prompt: bytes, more: bytes = b"") -> bytes:
    return _object(b'"max_tokens":1', b'"prompt":' + prompt, more)


def _long_message(n: int) -> bytes:
    return b'{"role":"user","content":"%b"}' % (_TEXT * (MAX_PROMPT_BYTES // 60 // n))


def _parts(n: int) -> bytes:
    return b'{"role":"user","content":%b}' % _array(b'{"type":"text","text":"a"}', n)


def _tools(n: int) -> bytes:
    """Tools whose schemas have as many values as any request's tools may have."""
    schema = b'{"type":"object","properties":{"a":{"enum":%b}}}' % _array(b"1", 4_900)
    form = b'{"type":"function","function":{"name":"f%d","parameters":%b}}'
    return b"[" + b",".join([form % (i, schema) for i in range(n)]) + b"]"


def _calls(n: int) -> bytes:
    form = b'{"id":"%d","type":"function","function":{"name":"f","arguments":"{}"}}'
    calls = b",".join([form % i for i in range(n)])
    return b'{"role":"assistant","tool_calls":[%b]},{"role":"user","content":"hi"}' % calls


def _arguments(n: int) -> bytes:
    return b'"chat_template_kwargs":{' + _members(n) + b"}"


def _nested(depth: int) -> bytes:
    return b'"metadata":{"a":%b%b}' % (b"[" * depth, b"]" * depth)


def _biases(n: int) -> bytes:
    return b'"logit_bias":{' + _members(n) + b"}"
