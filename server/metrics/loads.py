"""`load_of`: what one model has to do, as SGLang's servers tell it to routers. Pure."""

from __future__ import annotations

from typing import Any

from server.metrics.samples import WorkerSample


def load_of(sample: WorkerSample, n_slots: int | None) -> dict[str, Any]:
    """Return the figures of a model that is loaded, with `n_slots` slots; None: it isn't known how many."""
    stats = sample.stats
    assert stats is not None
    n_cells = stats.kv_total_tokens
    return {
        "model": sample.model,
        "type": sample.type,
        "num_running_reqs": sample.running,
        "num_waiting_reqs": sample.waiting,
        "num_total_reqs": sample.running + sample.waiting,
        "num_free_slots": None if n_slots is None else max(0, n_slots - sample.running),
        "max_running_requests": n_slots,
        "num_used_tokens": stats.kv_used_tokens,
        "max_total_num_tokens": n_cells,
        "token_usage": stats.kv_used_tokens / n_cells if n_cells else 0.0,
    }
