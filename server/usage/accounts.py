"""`Accounts`: the keys that a server knows, what each may still use, and what it has used."""

from __future__ import annotations

from dataclasses import dataclass, field

from server.keys.key_ring import KeyRing
from server.keys.limits import RateLimits
from server.usage.ledger import UsageLedger


@dataclass(frozen=True)
class Accounts:
    """By default nobody needs a key, and nothing is counted."""

    keys: KeyRing = field(default_factory=KeyRing)
    usage: UsageLedger = field(default_factory=UsageLedger.off)
    limits: RateLimits = field(default_factory=RateLimits)
    """The rest that each key with limits may still use."""
