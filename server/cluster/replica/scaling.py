"""`replicas_for_load`: the number of replicas that a deployment's load asks for, for Ray Serve. Pure.

Serve sees none of the requests, as they don't pass it: each replica tells how many it has of all API
processes, with its share of those that wait there for a place. Serve takes the mean of its look-back period.
"""

from __future__ import annotations

from typing import Any

LOAD = "requests"
"""The name of a replica's figure."""


def replicas_for_load(context: Any) -> tuple[float, dict[str, Any]]:
    """Return the number of replicas that have the wanted number of requests each, and nothing to keep.

    `context` is Serve's `AutoscalingContext`. Serve rounds up, waits as long as the deployment says, and
    keeps to its bounds. While no replica has told anything, all stays as it is.
    """
    loads = (context.aggregated_metrics or {}).get(LOAD)
    if not loads:
        return context.target_num_replicas, {}
    return sum(loads.values()) / context.config.get_target_ongoing_requests(), {}
