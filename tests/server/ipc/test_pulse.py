from __future__ import annotations

import math
import os
import subprocess
import sys

from server.ipc.pulse import BUSY_LIMIT_S, JOB_LIMIT_S, N_JOBS, Beat, Pulse

WRITE = """
import sys
from server.ipc.pulse import Pulse

pulse = Pulse(int(sys.argv[1]))
pulse.begin(512, 1.5, 30.0)
pulse.begin_job(2)
"""


def test_another_process_says_what_it_is_at() -> None:
    pulse = Pulse.make()
    assert pulse.read().limit_s == math.inf
    subprocess.run([sys.executable, "-c", WRITE, str(pulse.fd)], pass_fds=(pulse.fd,), check=True)
    assert pulse.read() == Beat(1, 512, 1.5, 30.0)
    limits = [beat.limit_s for beat in pulse.read_jobs()]
    assert limits == [JOB_LIMIT_S if place == 2 else math.inf for place in range(N_JOBS)]
    pulse.close()


def test_each_job_is_another_one_and_leaves_the_others_and_the_engine_as_they_are() -> None:
    pulse = Pulse.make()
    before, engine = pulse.read_jobs(), pulse.read()
    pulse.begin_job(N_JOBS - 1)
    first = pulse.read_jobs()
    pulse.end_job(N_JOBS - 1)
    pulse.begin_job(N_JOBS - 1)
    again = pulse.read_jobs()
    assert first[:-1] == again[:-1] == before[:-1]
    assert (first[-1].limit_s, again[-1].limit_s) == (JOB_LIMIT_S, JOB_LIMIT_S)
    assert len({before[-1].number, first[-1].number, again[-1].number}) == 3
    assert pulse.read() == engine
    pulse.close()


def test_each_moment_is_another_one() -> None:
    pulse, beats = Pulse(), []
    for write in (
        pulse.rest,
        pulse.busy,
        lambda: pulse.begin(1, 0.1, 10.0),
        pulse.busy,
        pulse.rest,
        pulse.rest,
    ):
        write()
        beats.append(pulse.read())
    assert len({beat.number for beat in beats}) == len(beats)
    assert [beat.limit_s for beat in beats] == [
        math.inf,
        BUSY_LIMIT_S,
        10.0,
        BUSY_LIMIT_S,
        math.inf,
        math.inf,
    ]
    assert [beat.n_tokens for beat in beats] == [0, 0, 1, 0, 0, 0]


def test_closing_gives_the_descriptor_back_and_may_be_repeated() -> None:
    pulse = Pulse.make()
    fd = pulse.fd
    pulse.close()
    pulse.close()
    try:
        os.fstat(fd)
    except OSError:
        return
    raise AssertionError("the descriptor is still open")
