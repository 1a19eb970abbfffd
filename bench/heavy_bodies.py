"""`heavy_bodies`: requests as large as a server allows, one for each kind of value."""

from __future__ import annotations

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
    """One request. `statuses` are those of a server that serves it, or says that it is too much."""

    name: str
    path: str
    body: bytes
    statuses: tuple[int, ...] = (200, 400)


def heavy_bodies() -> list[HeavyBody]:
    """Return a body at its limit for each kind of value, and some beyond."""
    chat, text, responses = "/v1/chat/completions", "/v1/completions", "/v1/responses"
    return [
        HeavyBody("text of many tokens", "/tokenize", _text(b"content", 3_900_000)),
        HeavyBody("tokens with pieces", "/tokenize", _text(b"content", 3_900_000, b'"with_pieces":true')),
        HeavyBody("text beyond any", "/tokenize", _text(b"content", BODY_BYTES - 99), (400,)),
        HeavyBody("token ids", "/detokenize", _object(b'"tokens":' + _array(b"300", _N))),
        HeavyBody("too many ids", "/detokenize", _object(b'"tokens":' + _array(b"300", 8_000_000)), (413,)),
        HeavyBody("messages to render", "/apply-template", _messages(_array(_MESSAGE, _N_OBJECTS))),
        HeavyBody("text to render", "/apply-template", _messages(_array(_long_message(), 1))),
        HeavyBody("messages", chat, _messages(_array(_MESSAGE, _N_OBJECTS))),
        HeavyBody("parts", chat, _messages(_array(_parts(_N_OBJECTS), 1))),
        HeavyBody("no messages", chat, _messages(_array(b"1", _N)), (400,)),
        HeavyBody("unknown fields", chat, _messages(_array(_MESSAGE, 1), _members(_N))),
        HeavyBody("template arguments", chat, _messages(_array(_MESSAGE, 1), _arguments(_N // 2))),
        HeavyBody("no tools", chat, _messages(_array(_MESSAGE, 1), b'"tools":' + _array(b"{}", _N_OBJECTS))),
        HeavyBody("tools", chat, _messages(_array(_MESSAGE, 1), b'"tools":' + _tools())),
        HeavyBody("calls", chat, _messages(_array(_MESSAGE, 1)[:-1] + b"," + _calls(30_000) + b"]")),
        HeavyBody("items", responses, _object(b'"input":' + _array(_MESSAGE, _N_OBJECTS))),
        HeavyBody("longest input", responses, _text(b"input", MAX_PROMPT_BYTES - 999)),
        HeavyBody(
            "longest instructions", responses, _text(b"instructions", MAX_PROMPT_BYTES - 999, b'"input":"a"')
        ),
        HeavyBody(
            "tools of a response", responses, _text(b"input", 9, b'"tools":' + _array(b"{}", _N_OBJECTS))
        ),
        HeavyBody("depth", chat, b"[" * (BODY_BYTES - 99), (400, 413)),
        HeavyBody("allowed depth", chat, _messages(_array(_MESSAGE, 1), _nested(MAX_DEPTH - 2))),
        HeavyBody("prompts", text, _prompt(_array(b'"' + _TEXT * 600 + b'"', 1_024))),
        HeavyBody("short prompts", text, _prompt(_array(b'"a"', 1_024), b'"n":2')),
        HeavyBody("objects for prompts", text, _prompt(_array(b"{}", _N_OBJECTS)), (400,)),
        HeavyBody("prompt of ids", text, _prompt(_array(b"300", _N))),
        HeavyBody("longest prompt", text, _prompt(b'"' + _TEXT * (MAX_PROMPT_BYTES // 51) + b'"')),
        HeavyBody("escapes", text, _prompt(b'"' + b'\\"\\\\' * (BODY_BYTES // 4 - 99) + b'"'), (400,)),
        HeavyBody("biases", text, _prompt(b'"a"', b'"logit_bias":{' + _members(_N) + b"}"), (400,)),
        HeavyBody("biases of prompts", text, _prompt(_array(b'"a"', 300), _biases(9_000))),
        HeavyBody("stops", text, _prompt(b'"a"', b'"stop":' + _array(b'"a"', _N))),
        HeavyBody("breakers", text, _prompt(b'"a"', b'"dry_sequence_breakers":' + _array(b'""', _N)), (400,)),
        HeavyBody("adapters of a request", text, _prompt(b'"a"', b'"lora":' + _array(b"{}", _N_OBJECTS))),
        HeavyBody("digits", text, _prompt(b'"a"', b'"seed":' + b"9" * (BODY_BYTES - 99)), (400,)),
        HeavyBody("scales", "/lora-adapters", _array(b'{"id":0,"scale":1}', 900_000), (400, 413)),
        HeavyBody("path", "/admin/adapters", _text(b"path", BODY_BYTES - 99), (400, 413)),
    ]


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


def _long_message() -> bytes:
    return b'{"role":"user","content":"%b"}' % (_TEXT * (MAX_PROMPT_BYTES // 60))


def _parts(n: int) -> bytes:
    return b'{"role":"user","content":%b}' % _array(b'{"type":"text","text":"a"}', n)


def _tools() -> bytes:
    """Tools whose schemas have as many values as any request's tools may have."""
    schema = b'{"type":"object","properties":{"a":{"enum":%b}}}' % _array(b"1", 4_900)
    form = b'{"type":"function","function":{"name":"f%d","parameters":%b}}'
    return b"[" + b",".join([form % (i, schema) for i in range(100)]) + b"]"


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
