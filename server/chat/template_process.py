"""A child process that renders a model's Jinja template, with hard limits on time and memory.

`TemplateProcess` is the parent's side, used by `template_pool`; `python -m server.chat.template_process`
is the child. They talk in JSON lines over the child's stdin and stdout. The kernel enforces the limits, so
they hold inside native code too: CPU and wall time by interval timers whose signals end the child, memory by
RLIMIT_AS (where the system has it). A child that was ended is started again by the next request. It ends by
itself at the end of its stdin.
"""

from __future__ import annotations

import contextlib
import signal
import subprocess
import sys
import threading
import weakref
from collections.abc import Sequence
from typing import IO, Any

import msgspec

from models.errors import RequestError
from models.machine.child_process import end_child, module_command
from models.machine.process_limits import limit_memory, set_timers
from server.chat.begun_answer import BegunAnswer
from server.chat.template_prompt import TemplatePrompt
from server.chat.templates import ChatTemplate


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """The limits of one render.

    An honest template takes milliseconds for a long chat. The first one of an agent, with 50 tools and 60,000
    letters, takes up to 0.23 s of computing, as the template is learned: machines may be eight times slower.
    """

    cpu_s: float = 2.0
    wall_s: float = 10.0
    memory_bytes: int = 1 << 30
    prompt_chars: int = 8 << 20


class _Setup(msgspec.Struct, frozen=True):
    template: str
    bos_token: str
    eos_token: str
    limits: Limits


class _Job(msgspec.Struct, frozen=True):
    messages: list[dict[str, Any]]
    add_generation_prompt: bool
    template_kwargs: dict[str, Any]
    begun: BegunAnswer | None
    tools: list[dict[str, Any]]
    schema: str | None


class _Outcome(msgspec.Struct, frozen=True):
    prompt: TemplatePrompt | None = None
    problem: str | None = None
    param: str | None = None


_LEARN = b"\n"
"""The line that has no reply: the child gets ready."""


def encode_job(
    messages: list[dict[str, Any]],
    *,
    add_generation_prompt: bool,
    template_kwargs: dict[str, Any],
    begun: BegunAnswer | None = None,
    tools: Sequence[dict[str, Any]] = (),
    schema: str | None = None,
) -> bytes:
    """Return what `TemplateProcess.render` takes: the messages, and how they become a prompt."""
    job = _Job(messages, add_generation_prompt, template_kwargs, begun, list(tools), schema)
    return msgspec.json.encode(job) + b"\n"


class TemplateProcess:
    """One template's child process. Thread-safe; one render at a time."""

    def __init__(
        self, template: str, *, bos_token: str, eos_token: str, limits: Limits | None = None
    ) -> None:
        self._setup = _Setup(template, bos_token, eos_token, limits or Limits())
        self._lock = threading.Lock()
        self._child: subprocess.Popen[bytes] | None = None
        self._end_child: Any = None

    def start(self) -> None:
        """Start the child without waiting for it: it gets ready while something else is done.

        A template that takes too long for that ends the child, and the first job starts another.
        """
        with self._lock, contextlib.suppress(BrokenPipeError):
            child = self._running_child()
            assert child.stdin is not None
            child.stdin.write(_LEARN)
            child.stdin.flush()

    def render(self, job: bytes) -> str:
        """Return the text of what `prompt` returns."""
        return self.prompt(job).text

    def prompt(self, job: bytes) -> TemplatePrompt:
        """Return the prompt for what `encode_job` returned, to the end of a begun answer.

        Raises RequestError for refused messages and for exceeded limits.
        """
        with self._lock:
            line = self._exchange(job) or self._exchange(job, only_if_idle_death=True)
            if not line:
                raise RequestError(self._epitaph(), param="prompt_format")
        outcome = msgspec.json.decode(line, type=_Outcome)
        if outcome.prompt is None:
            raise RequestError(outcome.problem or "the model's chat template failed", param=outcome.param)
        return outcome.prompt

    def close(self) -> None:
        """End the child. The object may be used again, which starts another."""
        with self._lock:
            self._close()

    def _exchange(self, job: bytes, *, only_if_idle_death: bool = False) -> bytes:
        """Send a job and return the reply; b"" if the child ended instead of replying.

        With `only_if_idle_death` a new child gets the job only if the last one wasn't ended by its limits (by
        an out-of-memory kill between two requests, say): a template that broke them would break them again.
        """
        if only_if_idle_death and self._limit_that_ended() is not None:
            return b""
        try:
            child = self._running_child()
            assert child.stdin is not None
            assert child.stdout is not None
            child.stdin.write(job)
            child.stdin.flush()
            return child.stdout.readline()
        except BrokenPipeError:
            return b""

    def _running_child(self) -> subprocess.Popen[bytes]:
        if self._child is not None and self._child.poll() is None:
            return self._child
        self._close()
        child = subprocess.Popen(
            module_command(__name__),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )
        self._child, self._end_child = child, weakref.finalize(self, end_child, child)
        assert child.stdin is not None
        child.stdin.write(msgspec.json.encode(self._setup) + b"\n")
        child.stdin.flush()
        return child

    def _close(self) -> None:
        if self._end_child is not None:
            self._end_child()
        self._child = self._end_child = None

    def _limit_that_ended(self) -> str | None:
        status = None if self._child is None else self._child.wait()
        if status == -signal.SIGPROF:
            return f"more than {self._setup.limits.cpu_s:g} s of computing"
        if status == -signal.SIGALRM:
            return f"more than {self._setup.limits.wall_s:g} s"
        return None

    def _epitaph(self) -> str:
        limit = self._limit_that_ended()
        what = f"takes {limit}" if limit else "ended the process that renders it"
        return f"the model's chat template {what} for this request; choose a built-in one with prompt_format"


# --- the child ----------------------------------------------------------------------------------------------


def _render(
    setup: _Setup, template: ChatTemplate | None, line: bytes
) -> tuple[_Outcome, ChatTemplate | None]:
    try:
        if template is None:
            template = ChatTemplate(setup.template, bos_token=setup.bos_token, eos_token=setup.eos_token)
        job = msgspec.json.decode(line, type=_Job)
        prompt = template.prompt(
            job.messages,
            add_generation_prompt=job.add_generation_prompt,
            template_kwargs=job.template_kwargs,
            begun=job.begun,
            tools=job.tools,
            schema=job.schema,
        )
    except RequestError as error:
        return _Outcome(problem=error.message, param=error.param), template
    except MemoryError:
        limit_mib = setup.limits.memory_bytes >> 20
        problem = f"the model's chat template needs more than {limit_mib} MiB for this request"
        return _Outcome(
            problem=f"{problem}; choose a built-in one with prompt_format", param="prompt_format"
        ), template
    limit = setup.limits.prompt_chars
    if len(prompt.text) > limit:
        problem = f"the model's chat template writes {len(prompt.text):,} characters; the limit is {limit:,}"
        return _Outcome(problem=f"{problem}; shorten the messages", param="messages"), template
    return _Outcome(prompt=prompt), template


def _learned(setup: _Setup, template: ChatTemplate | None) -> ChatTemplate | None:
    """Return the template, with what it learns of itself; None where it can't be made: a job says why."""
    try:
        made = template or ChatTemplate(setup.template, bos_token=setup.bos_token, eos_token=setup.eos_token)
        made.learn()
    except (RequestError, MemoryError):
        return template
    return made


def serve(requests: IO[bytes], replies: IO[bytes]) -> None:
    """Answer jobs until `requests` ends."""
    setup = msgspec.json.decode(requests.readline(), type=_Setup)
    limit_memory(setup.limits.memory_bytes)
    template: ChatTemplate | None = None
    while line := requests.readline():
        set_timers(setup.limits.cpu_s, setup.limits.wall_s)
        if line == _LEARN:
            template = _learned(setup, template)
            set_timers(0, 0)
            continue
        outcome, template = _render(setup, template, line)
        reply = msgspec.json.encode(outcome)
        set_timers(0, 0)
        replies.write(reply + b"\n")
        replies.flush()


if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole process group; the parent decides
    serve(sys.stdin.buffer, sys.stdout.buffer)
