"""`victims`: which of the loaded models go, so that another one has room. Pure.

A model is worth keeping for its priority first; then the less memory it holds, the shorter it has been idle
and the longer its load took.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

_LOAD_BASE_S = 1.0
"""Loads that differ by much less than this count as alike: a second is lost by any swap."""


@dataclass(frozen=True, slots=True)
class Tenant:
    """A loaded model that may be unloaded."""

    key: str
    memory_bytes: int
    """It gives back about so many bytes."""
    idle_s: float
    load_s: float
    """Its latest load took so long."""
    priority: int = 0
    """Models with a higher one stay longer."""

    @property
    def expendability(self) -> float:
        """The byte-seconds that lie idle for each second of a load that would bring them back."""
        return max(self.memory_bytes, 1) * max(self.idle_s, 1e-6) / (_LOAD_BASE_S + max(self.load_s, 0.0))


def victims(tenants: Iterable[Tenant], shortage_bytes: int) -> list[str]:
    """Return the keys of those that go, the least useful first; at least one if there is one.

    As many as give back `shortage_bytes` together, none of which could have stayed; all, if they don't.
    """
    order = sorted(tenants, key=lambda tenant: (tenant.priority, -tenant.expendability))
    going: list[Tenant] = []
    freed = 0
    for tenant in order:
        if going and freed >= shortage_bytes:
            break
        going.append(tenant)
        freed += tenant.memory_bytes
    for tenant in reversed(going[:]):
        if len(going) > 1 and freed - tenant.memory_bytes >= shortage_bytes:
            going.remove(tenant)
            freed -= tenant.memory_bytes
    return [tenant.key for tenant in going]
