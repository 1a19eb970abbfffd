"""`Accounts`: the keys that a server knows, and the usage that it counts for them."""

from __future__ import annotations

from dataclasses import dataclass, field

from server.keys.key_ring import KeyRing
from server.usage.ledger import UsageLedger


@dataclass(frozen=True)
class Accounts:
    """By default nobody needs a key, and nothing is counted."""

    keys: KeyRing = field(default_factory=KeyRing)
    usage: UsageLedger = field(default_factory=UsageLedger.off)
