"""A real process whose engine hangs, watched as a worker is: from the engine's word to the verdict."""

from __future__ import annotations

import re
import subprocess
import sys
import time

import pytest

from server.ipc.pulse import Pulse
from server.supervisor.policy import Policy
from server.supervisor.process.hardship import ProcessWatcher
from server.supervisor.process.vigil import Vigil

LOOK_S = 0.05


@pytest.mark.parametrize("how", ["native", "spin"])
def test_a_step_that_never_ends_is_noticed(how: str) -> None:
    pulse = Pulse.make()
    module = "tests.server.supervisor.process.stuck_engine"
    with subprocess.Popen(
        [sys.executable, "-m", module, str(pulse.fd), how], pass_fds=[pulse.fd], stderr=subprocess.PIPE
    ) as process:
        try:
            vigil = Vigil(Policy(look_s=LOOK_S), ProcessWatcher(process.pid))
            verdict, deadline_s = None, time.monotonic() + 60
            while verdict is None:
                assert process.poll() is None
                assert time.monotonic() < deadline_s, pulse.read()
                time.sleep(LOOK_S)
                verdict = vigil.verdict(pulse.read(), 0, has_work=True)
        finally:
            process.kill()
            pulse.close()
    words = r"a step of 1 token, which should take [0-9.]+ ms, took [0-9]+ s and it was killed"
    assert re.fullmatch(words, verdict), verdict
