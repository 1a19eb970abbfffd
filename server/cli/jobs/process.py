"""A job's process: one wish as a line of JSON on stdin, its progress and end as lines on stdout.

It ends when stdin does: its server is gone. SIGTERM ends it, and what was done is gone on with next time;
SIGINT means that nobody wants the model any more, so that what was done goes too.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

from models.errors import CorralError, DiskFull
from models.paths import Paths
from models.reference import ModelRef, canonical_type
from models.store.atomic_write import disk_full
from models.store.store import ModelStore
from quantize.control import JobControl, QuantizationProgress
from server.engine.events import DISK_FULL
from server.jobs.job import JOB_FAILED

NICENESS = 15
"""Whoever is served goes first."""


def main() -> int:
    """Do what stdin says. Return 0, or 1 after an error was told."""
    with_niceness = getattr(os, "nice", None)
    if with_niceness is not None:
        with_niceness(NICENESS)
    tell = _teller()
    wish = json.loads(sys.stdin.readline())
    discards = threading.Event()
    cancel = threading.Event()

    def end(number: int, _frame: object) -> None:
        if number == signal.SIGINT:
            discards.set()
        cancel.set()

    signal.signal(signal.SIGINT, end)
    signal.signal(signal.SIGTERM, end)
    threading.Thread(target=_watch_stdin, args=(cancel,), daemon=True).start()
    store = ModelStore(Paths.from_environment())
    try:
        ref = ModelRef.parse(wish["model"])
        with disk_full(f"make {ref.name}", store.paths.home):
            result = work(wish, ref, store, control_for(tell, cancel))
    except CorralError as error:
        if discards.is_set():
            store.discard_interrupted(ref.name)
        code = DISK_FULL if isinstance(error, DiskFull) else JOB_FAILED
        tell({"event": "error", "message": error.public, "code": code, "log": error.message})
        return 1
    tell({"event": "done", "result": result})
    return 0


def work(wish: dict[str, Any], ref: ModelRef, store: ModelStore, control: JobControl) -> dict[str, Any]:
    """Do one wish; return what there is then. Raises CorralError."""
    from quantize.job.ensure_model import is_ready_gguf, make_model
    from quantize.job.update import update_model

    types = tuple(map(canonical_type, wish["types"]))
    if wish["kind"] == "update":
        return update_model(ref, store, control).document()
    if is_ready_gguf(ref, store):
        for wanted in [ref.with_type(type_) for type_ in types] or [ref]:
            make_model(wanted, (), store, control)
    else:
        from quantize.job.request import QuantizeOptions
        from quantize.job.service import quantize_reference
        from quantize.run.options import RunOptions

        options = QuantizeOptions(run=RunOptions(stream=bool(wish.get("stream"))))
        own = (ref.type,) if ref.type is not None else ()
        outcome = quantize_reference(
            ref.with_type(None), types or own, store=store, options=options, control=control
        )
        ref = outcome.ref
    model = store.get(ref.with_type(None))
    return {
        "name": model.name,
        "revision": model.revision,
        "types": [{"type": file.type, "size_bytes": file.size_bytes} for file in model.types.values()],
    }


def control_for(tell: Callable[[dict[str, Any]], None], cancel: threading.Event) -> JobControl:
    """Return a control that tells progress, at most some ten times a second, and ends with `cancel`."""

    def progress(stage: str, done: int, total: int) -> None:
        tell({"event": "progress", "stage": stage, "done": done, "total": total})

    def on_progress(state: QuantizationProgress) -> None:
        progress("quantize", state.source_bytes_read, state.source_bytes)

    return JobControl(
        on_download=lambda state: progress("download", state.bytes_done, state.bytes_total),
        on_progress=on_progress,
        cancel=cancel,
    )


def _teller() -> Callable[[dict[str, Any]], None]:
    """Return what writes messages to the stdout that there is now; anything else printed goes to stderr."""
    pipe = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    told_s = [0.0]

    def tell(message: dict[str, Any]) -> None:
        now_s = time.monotonic()
        is_last = message.get("done") == message.get("total")
        if message["event"] == "progress" and not is_last and now_s - told_s[0] < 0.1:
            return
        told_s[0] = now_s
        pipe.write(json.dumps(message) + "\n")
        pipe.flush()

    return tell


def _watch_stdin(cancel: threading.Event) -> None:
    while sys.stdin.read(1):
        pass
    cancel.set()


if __name__ == "__main__":
    sys.exit(main())
