"""`Pace`: how many tokens a step may have, and whether it has what others leave of the cores. Pure.

While answers are written, all steps but one in some seconds have idle cores alone, and that one takes about
half as long as a small model's token: of a chat's gaps fewer than one in a hundred are longer for it.
"""

from __future__ import annotations

from dataclasses import dataclass

STEP_S = 0.1
"""A step of several texts takes about so many seconds at most: a new request waits for one."""
SHORT_STEP_S = 0.004
"""The same while it gives way: a token of an answer waits for one."""
FAIR_S = 2.0
"""While it gives way, one step in so many seconds doesn't: others may leave nothing of the cores."""
FAIR_SHARE = 0.005
"""Such steps have so much of the time: after a long text they are rarer."""
LEAST_TOKENS = 64
"""A step may have so many tokens, however slow they are: fewer would each take longer."""
LEAST_SHORT_TOKENS = 16
"""The same of a step that gives way."""


@dataclass(frozen=True, slots=True)
class Turn:
    """One step's size and place among others."""

    room: int
    """The most tokens of its texts together; one text alone may have more."""
    gives_way: bool
    """Other models' answers go first. Short texts are the first then."""
    idle: bool
    """It has what others leave of the cores."""


class Pace:
    """Learns what a token takes from the steps that have the cores as others have them."""

    def __init__(self, n_step_tokens: int) -> None:
        """`n_step_tokens`: the most that the runner takes."""
        self._most = n_step_tokens
        self._token_s: float | None = None
        """Moving average of the seconds that a token takes."""
        self._fair_again_s = 0.0
        """From this time on a step needn't be idle."""

    @property
    def token_s(self) -> float | None:
        """The seconds that a token takes; None: no step has shown it."""
        return self._token_s

    def turn(self, now_s: float, *, gives_way: bool) -> Turn:
        """Return the turn of the step that begins now."""
        if not gives_way:
            return Turn(self._room(STEP_S, LEAST_TOKENS, self._most), gives_way=False, idle=False)
        room = self._room(SHORT_STEP_S, LEAST_SHORT_TOKENS, LEAST_SHORT_TOKENS)
        return Turn(room, gives_way=True, idle=now_s < self._fair_again_s)

    def took(self, turn: Turn, n_tokens: int, seconds: float, end_s: float) -> None:
        """Learn from a step of `n_tokens`. One with idle cores says nothing of what a token takes."""
        if turn.idle:
            return
        each_s = seconds / n_tokens
        self._token_s = each_s if self._token_s is None else 0.8 * self._token_s + 0.2 * each_s
        self._fair_again_s = end_s + (max(FAIR_S, seconds / FAIR_SHARE) if turn.gives_way else FAIR_S)

    def _room(self, seconds: float, least: int, unknown: int) -> int:
        """Return the tokens that take so many seconds, `unknown` as long as nobody knows."""
        room = max(least, int(seconds / self._token_s)) if self._token_s else unknown
        return min(self._most, room)
