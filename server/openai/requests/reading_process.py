"""The process that reads large bodies: `python -m server.openai.requests.reading_process`.

A parser holds the interpreter's lock until it is done, so a thread beside the event loop would keep everybody
waiting as well. Jobs come on stdin and go to `reading.read`; what it makes goes to stdout in parts: a head,
then each prompt as it will travel to the worker, which the API process passes on without looking into it.
Each part is its length in 4 bytes, little-endian, then msgpack. Before them comes the native id of the thread
that reads this body, also in 4 bytes: whoever waits may have it give way, and a thread can't have its
priority back. The process ends at the end of stdin.
"""

from __future__ import annotations

import resource
import signal
import struct
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import IO, Any, cast

import msgspec

from models.errors import RequestError
from server.hosting.read import HostedRead
from server.ipc.messages import LONG_FIELD
from server.ipc.prompts import ChatPrompt, PooledInputs, Prompt, TextPrompt, TokenPrompt
from server.openai.errors import BodyTooLarge
from server.openai.requests.body_limits import check_inputs, check_prompt
from server.openai.requests.reading import (
    GenerationRead,
    PooledRead,
    QuestionRead,
    ReadJob,
    ReadRequest,
    read,
)
from server.responses.read import HistoryWanted, ResponseRead

LENGTH = struct.Struct("<I")
MEMORY_BYTES = 2 << 30
"""The address space that the process may have: the largest body that is allowed takes a third of it."""
READ_S = 30.0
"""A body that takes more computing ends the process; the largest that is allowed takes a few seconds."""


class Refusal(msgspec.Struct, frozen=True, kw_only=True, tag="refusal"):
    """The client's mistake, in place of what was read."""

    message: str
    param: str | None = None
    code: str | None = None
    too_large: bool = False

    def error(self) -> RequestError:
        """Return the error to raise."""
        kind = BodyTooLarge if self.too_large else RequestError
        return kind(self.message, self.param, self.code)


class Head(msgspec.Struct, frozen=True, kw_only=True):
    """The first part of a reply. The long field of each message is empty and comes in a part of its own."""

    outcome: GenerationRead | QuestionRead | PooledRead | ResponseRead | HistoryWanted | HostedRead | Refusal
    ids: list[str] = []
    """The ids of all messages that generate; they are alike but for id and prompt, and `outcome` has one."""
    n_parts: int = 0


_head_decoder = msgspec.msgpack.Decoder(Head)
_job_decoder = msgspec.msgpack.Decoder(ReadJob)
_encode = msgspec.msgpack.Encoder().encode
_EMPTY: dict[str, Any] = {"text": "", "tokens": (), "prompt": ChatPrompt([])}
_PARAMS = {"text": "content", "tokens": "tokens", "prompt": "messages"}
"""The names that clients know for a question's long field."""


# --- replies ------------------------------------------------------------------------------------------------


def parts_of(outcome: ReadRequest) -> list[bytes]:
    """Return a reply's parts. Raises RequestError for a prompt that is too long to be passed on."""
    if isinstance(outcome, HistoryWanted):
        return [_encode(Head(outcome=outcome))]
    if isinstance(outcome, HostedRead):
        instances = outcome.instances or []
        bare = msgspec.structs.replace(outcome, instances=None if outcome.instances is None else [])
        return [_encode(Head(outcome=bare, n_parts=len(instances))), *instances]
    if isinstance(outcome, GenerationRead | ResponseRead):
        generates = outcome.generates
        if not generates:
            return [_encode(Head(outcome=outcome))]
        long = [_long(generate.prompt, _param(outcome, generate.prompt)) for generate in generates]
        first = msgspec.structs.replace(generates[0], prompt=TextPrompt(""))
        short: ReadRequest = msgspec.structs.replace(outcome, generates=[first])
        ids = [generate.id for generate in generates]
    elif isinstance(outcome, PooledRead):
        ids, long = [], [_encode(outcome.pool.inputs)]
        check_inputs(len(long[0]), outcome.pool.param)
        pool = msgspec.structs.replace(outcome.pool, inputs=PooledInputs(()))
        short = msgspec.structs.replace(outcome, pool=pool)
    else:
        question, ids = outcome.question, []
        field = LONG_FIELD[type(question)]
        long = [_long(getattr(question, field), _PARAMS[field])]
        question = msgspec.structs.replace(question, **{field: _EMPTY[field]})
        short = msgspec.structs.replace(outcome, question=question)
    return [_encode(Head(outcome=short, ids=ids, n_parts=len(long))), *long]


def head_of(part: bytes) -> Head:
    """Return a reply's head. Raises the refusal in it."""
    head = _head_decoder.decode(part)
    if isinstance(head.outcome, Refusal):
        raise head.outcome.error()
    return head


def joined(head: Head, long: list[bytes]) -> ReadRequest:
    """Return the request that was read. Its long fields stay as they are: encoded, see LONG_FIELD."""
    outcome = head.outcome
    assert not isinstance(outcome, Refusal)
    if isinstance(outcome, HostedRead):
        return outcome if outcome.instances is None else msgspec.structs.replace(outcome, instances=long)
    raw = [cast("Any", msgspec.Raw(part)) for part in long]
    if isinstance(outcome, HistoryWanted):
        return outcome
    if isinstance(outcome, GenerationRead | ResponseRead):
        if not outcome.generates:
            return outcome
        (first,) = outcome.generates
        pairs = zip(head.ids, raw, strict=True)
        generates = [msgspec.structs.replace(first, id=id_, prompt=prompt) for id_, prompt in pairs]
        return msgspec.structs.replace(outcome, generates=generates)
    if isinstance(outcome, PooledRead):
        pool = msgspec.structs.replace(outcome.pool, inputs=raw[0])
        return msgspec.structs.replace(outcome, pool=pool)
    field = LONG_FIELD[type(outcome.question)]
    question = msgspec.structs.replace(outcome.question, **{field: raw[0]})
    return msgspec.structs.replace(outcome, question=question)


def _long(value: Any, param: str) -> bytes:
    encoded = _encode(value)
    n_image_bytes = value.n_image_bytes if isinstance(value, ChatPrompt) else 0
    check_prompt(len(encoded) - n_image_bytes, param)
    return encoded


def _param(request: GenerationRead | ResponseRead, prompt: Prompt) -> str:
    if isinstance(request, ResponseRead):
        return "input"
    return "prompt" if isinstance(prompt, TextPrompt | TokenPrompt) else "messages"


# --- the process --------------------------------------------------------------------------------------------


def serve(jobs: IO[bytes], replies: IO[bytes]) -> None:
    """Answer jobs until `jobs` ends. A job is two parts, a `ReadJob` and the body."""
    _limit_memory()
    while (job := read_part(jobs)) is not None:
        body = read_part(jobs)
        if body is None:
            return
        signal.setitimer(signal.ITIMER_PROF, READ_S)
        parts = _answered_apart(_job_decoder.decode(job), body, replies)
        del body
        signal.setitimer(signal.ITIMER_PROF, 0)
        for part in parts:
            replies.write(LENGTH.pack(len(part)))
            replies.write(part)
        replies.flush()


def read_part(file: IO[bytes]) -> bytes | None:
    """Return the next part; None at the end of the file, or where it ends within a part."""
    length = file.read(LENGTH.size)
    if len(length) < LENGTH.size:
        return None
    n_bytes: int = LENGTH.unpack(length)[0]
    part = file.read(n_bytes)
    return part if len(part) == n_bytes else None


def _answered_apart(job: ReadJob, body: bytes, replies: IO[bytes]) -> list[bytes]:
    """Return the parts of a reply, made by a thread of its own that tells its id first."""

    def work() -> list[bytes]:
        replies.write(LENGTH.pack(threading.get_native_id()))
        replies.flush()
        return _answer(job, body)

    with ThreadPoolExecutor(1, "body") as thread:
        return thread.submit(work).result()


def _answer(job: ReadJob, body: bytes) -> list[bytes]:
    try:
        return parts_of(read(job, body))
    except RequestError as error:
        refusal = Refusal(
            message=error.message,
            param=error.param,
            code=error.code,
            too_large=isinstance(error, BodyTooLarge),
        )
        return [_encode(Head(outcome=refusal))]


def _limit_memory() -> None:
    _, hard = resource.getrlimit(resource.RLIMIT_AS)
    ceiling = MEMORY_BYTES if hard == resource.RLIM_INFINITY else min(MEMORY_BYTES, hard)
    with suppress(ValueError, OSError):  # on a system without it the number of elements bounds the memory
        resource.setrlimit(resource.RLIMIT_AS, (ceiling, hard))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole process group; the parent decides
    serve(sys.stdin.buffer, sys.stdout.buffer)
