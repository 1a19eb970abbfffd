"""The control of a long job: its caller's callbacks and cancel event, passed down in one object."""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from models.errors import QuantizationError

if TYPE_CHECKING:  # the Hub's client is slow to import, and a server that only looks for files needs none
    from models.hub.download import DownloadProgress

OnCount = Callable[[int, int], None]
"""A callback that takes how many are done and how many there are."""


class Cancelled(QuantizationError):
    """The caller cancelled the job."""


@dataclass(frozen=True)
class QuantizationProgress:
    """The state of a pass: `source_bytes_read` of `source_bytes` are done; `written_bytes` are per type, in
    the plan's order.
    """

    source_bytes_read: int
    source_bytes: int
    tensor: str
    tensors_done: int
    tensors: int
    written_bytes: dict[str, int]


def _no_counter(_stage: str) -> AbstractContextManager[OnCount]:
    return nullcontext(lambda _done, _total: None)


@dataclass(frozen=True)
class JobControl:
    """The caller's side of a job. Callbacks run on the thread that called it, and may raise."""

    on_download: Callable[[DownloadProgress], None] | None = None
    on_resume: OnCount | None = None
    """The callback takes how many tensors an earlier, interrupted run had done, and how many there are."""
    on_progress: Callable[[QuantizationProgress], None] | None = None
    counter: Callable[[str], AbstractContextManager[OnCount]] = _no_counter
    """The factory of callbacks for stages that are counted, by their label (`"probes"`); each is entered for
    as long as its stage runs.
    """
    cancel: threading.Event = field(default_factory=threading.Event)
    """Setting the event, from any thread, ends the job with Cancelled at its next step."""

    def raise_if_cancelled(self, message: str) -> None:
        """Raise Cancelled with `message` if the caller has cancelled the job."""
        if self.cancel.is_set():
            raise Cancelled(message)
