"""`sum_of_stats`: the counters of several workers as those of one. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import zip_longest
from typing import Any

from server.ipc.messages import StatsReply


def sum_of_stats(replies: Sequence[StatsReply]) -> StatsReply:
    """Return the sum of each counter; at least one reply is needed."""
    fields: dict[str, Any] = {"id": ""}
    for name in StatsReply.__struct_fields__:
        values = [getattr(reply, name) for reply in replies]
        if name == "step_counts":
            fields[name] = [sum(counts) for counts in zip_longest(*values, fillvalue=0)]
        elif name != "id":
            fields[name] = sum(values)
    return StatsReply(**fields)
