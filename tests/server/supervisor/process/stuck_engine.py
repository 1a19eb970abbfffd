"""`python -m tests.server.supervisor.process.stuck_engine FD HOW`: an engine whose third step never ends.

FD is the memory of its pulse. HOW is `spin` (Python code that computes for ever), or `native`: a call into
the C library that keeps Python's lock, as one into a driver may. A step has a fifth of a second at least.
"""

from __future__ import annotations

import ctypes
import sys

from models.errors import CorralError
from server.engine import patience
from server.engine.batch import Batch, Output
from server.engine.engine import Engine, EngineConfig
from server.engine.speculation.step_cost import StepCost
from server.ipc.pulse import Pulse
from tests.server.engine.harness import request
from tests.server.engine.scripted_runner import ScriptedRunner


class StuckRunner(ScriptedRunner):
    """Computes two steps."""

    how = ""

    def run(self, batch: Batch) -> list[Output | CorralError]:
        if len(self.batches) == 2:
            while True:
                if self.how == "native":
                    ctypes.PyDLL(None).sleep(3600)
        return super().run(batch)


def main() -> None:
    patience.LEAST_S = patience.FIRST_LEAST_S = 0.2
    pulse, runner = Pulse(int(sys.argv[1])), StuckRunner()
    runner.how = sys.argv[2]
    engine = Engine(runner, EngineConfig(), step_cost=StepCost([(1, 1e-4), (2, 1.1e-4)]), watch=pulse)
    engine.submit(request(max_tokens=50, ignore_eos=True))
    while engine.has_work:
        engine.step()


if __name__ == "__main__":
    main()
