"""A result as a search leaves it."""

from __future__ import annotations

from typing import Any

import msgspec

from server.tuning.machine import Machine
from server.tuning.result_store import LoadFigure, Result
from server.tuning.settings import with_values
from server.tuning.workload import Workload
from tests.server.tuning.fake_measurer import DEFAULTS

MACHINE = Machine(cpu="Abacus 9000", cores=2, threads=2, llama_cpp="0.3.36", build="00" * 8)


def a_result(fingerprint: str = "local-0123456789abcdef", **values: Any) -> Result:
    result = Result(
        machine=MACHINE,
        model="demo:Q4_K_M",
        fingerprint=fingerprint,
        settings=with_values(DEFAULTS, n_ubatch=256, spin_count=0, use_extra_bufts=False),
        defaults=DEFAULTS,
        gain=0.1,
        gain_margin=0.02,
        noise=0.01,
        confirmed=True,
        workload=Workload(),
        figures=(LoadFigure(streams=1, busy=False, default_tokens_per_s=100.0, best_tokens_per_s=110.0),),
        kv_quant_gain=None,
        n_tried=7,
        elapsed_s=100.0,
        others_cores=0.05,
        created="2026-01-02T03:04:05+00:00",
        corral="0.1.0",
    )
    return msgspec.structs.replace(result, **values)
