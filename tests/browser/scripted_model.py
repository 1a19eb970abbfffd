"""A worker process whose model says what `tests.browser.answers` has, at the pace of its steps.

A pause is kept by the clock: on a busy machine tokens come late, and then at once, as from a fast model.
"""

from __future__ import annotations

import asyncio
import socket
import sys
import threading
import time
from collections.abc import Sequence

from server.engine.events import Failure
from server.ipc.messages import Generate, StepEvents
from server.ipc.pulse import Pulse
from server.worker.channel import Channel
from tests.browser.answers import script
from tests.server.scripted_service import Step
from tests.server.supervisor.scripted_worker import ScriptedWorker


class ScriptedModel(ScriptedWorker):
    """Loads what its file says, and answers chats."""

    def generate(self, request: Generate) -> None:
        """Begin to answer."""
        self.running.add(request.id)
        thread = threading.Thread(target=self.play, args=(request, script(request)))
        self.threads.append(thread)
        thread.start()

    def play(self, request: Generate, steps: Sequence[Step]) -> None:
        """Send the steps, until the request is cancelled."""
        due_s = time.monotonic()
        for step in steps:
            if isinstance(step, float):
                due_s += step
                time.sleep(max(0.0, due_s - time.monotonic()))
                continue
            assert not isinstance(step, BaseException | asyncio.Event)
            is_cancelled = request.id in self.cancelled
            event = Failure(id=request.id, kind="cancelled", message="cancelled") if is_cancelled else step
            if event is steps[-1] or isinstance(event, Failure):
                self.running.discard(request.id)
            self.channel.send(StepEvents(events=[event]))
            if isinstance(event, Failure):
                return


def main() -> None:
    channel = Channel(socket.socket(fileno=int(sys.argv[2])))
    spec = channel.receive_spec()
    assert spec is not None
    worker = ScriptedModel(channel, spec, Pulse(int(sys.argv[4])))
    worker.load()
    worker.serve()


if __name__ == "__main__":
    main()
