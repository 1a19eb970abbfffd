"""`TemplatePool`: child processes that render one template, so that a long chat holds up no other."""

from __future__ import annotations

import queue
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from server.chat.template_process import Limits, TemplateProcess, encode_job
from server.chat.template_prompt import TemplatePrompt

SHORT_JOB_BYTES = 65_536
"""Chats of at most so many bytes, as JSON, have processes of their own."""

N_PROCESSES = 2
"""At most so many processes render short chats, and as many long ones; they start when they are needed."""


class TemplatePool:
    """Renders one template, in several processes. Thread-safe."""

    def __init__(
        self, template: str, *, bos_token: str, eos_token: str, limits: Limits | None = None
    ) -> None:
        def processes() -> list[TemplateProcess]:
            return [
                TemplateProcess(template, bos_token=bos_token, eos_token=eos_token, limits=limits)
                for _ in range(N_PROCESSES)
            ]

        self._short, self._long = processes(), processes()
        self._idle_short, self._idle_long = _idle(self._short), _idle(self._long)

    def start(self) -> None:
        """Start the processes that the first short and the first long chat would wait for; return at once."""
        for idle in (self._idle_short, self._idle_long):
            with _taken(idle) as process:
                process.start()

    def render(self, messages: list[dict[str, Any]], **options: Any) -> str:
        """Return the text of what `prompt` returns."""
        return self.prompt(messages, **options).text

    def prompt(self, messages: list[dict[str, Any]], **options: Any) -> TemplatePrompt:
        """Return the prompt; the options are those of `encode_job`. Raises RequestError."""
        job = encode_job(messages, **options)
        with _taken(self._idle_short if len(job) <= SHORT_JOB_BYTES else self._idle_long) as process:
            return process.prompt(job)

    def close(self) -> None:
        """End the processes. The object may be used again, which starts others."""
        for process in (*self._short, *self._long):
            process.close()


def _idle(processes: list[TemplateProcess]) -> queue.LifoQueue[TemplateProcess]:
    """Return a queue that gives the process that was used last, so that others needn't start."""
    idle: queue.LifoQueue[TemplateProcess] = queue.LifoQueue()
    for process in reversed(processes):
        idle.put(process)
    return idle


@contextmanager
def _taken(idle: queue.LifoQueue[TemplateProcess]) -> Iterator[TemplateProcess]:
    """Wait for an idle process and have it for oneself."""
    process = idle.get()
    try:
        yield process
    finally:
        idle.put(process)
