"""The verdict on a calibrated file: which kinds of tensors lost by it on texts it never saw. Pure.

Each kind of tensor is tried as the file has it and as plain encoding would, all else 16 bits; KL divergences
are compared window by window. A kind that lost beyond noise on any text is to be rounded plainly.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt

Doubles = npt.NDArray[np.float64]

LEAST_WINDOWS: Final = 4
"""A difference is told from noise by at least so many windows of a text."""
NOISE_ERRORS: Final = 2.0
"""A mean difference within so many of its standard errors is noise."""


@dataclass(frozen=True)
class TextLoss:
    """Mean KL divergences from the 16-bit model over one text, in nats. Text: its name.

    `plain`: as encoded plainly; `calibrated`: as the file has it. `error`: the standard error of their
    difference, over pairs of windows.
    """

    text: str
    n_windows: int
    plain: float
    calibrated: float
    error: float

    @property
    def is_worse(self) -> bool:
        """True if calibration lost more, be it noise."""
        return self.calibrated > self.plain

    @property
    def is_loss(self) -> bool:
        """True if calibration lost more than noise explains."""
        return self.calibrated - self.plain > NOISE_ERRORS * self.error


@dataclass(frozen=True)
class KindLoss:
    """The losses of one kind of tensor, such as `attn_v.weight` of all layers, on each text."""

    kind: str
    tensors: tuple[str, ...]
    losses: tuple[TextLoss, ...]

    @property
    def falls_back(self) -> bool:
        """True if the kind lost by calibration on some text."""
        return any(loss.is_loss for loss in self.losses)

    @property
    def reason(self) -> str:
        """The loss in words."""
        worst = max(self.losses, key=lambda loss: loss.calibrated - loss.plain - NOISE_ERRORS * loss.error)
        return (
            f"on {worst.text} it lost {worst.calibrated:.5f} nats calibrated and {worst.plain:.5f} plainly "
            f"(± {worst.error:.5f})"
        )

    def document(self) -> dict[str, Any]:
        """Return the losses for JSON: divergences in nats."""
        return {"kind": self.kind, "reason": self.reason, "texts": [asdict(loss) for loss in self.losses]}


@dataclass(frozen=True)
class Verdict:
    """The verdict on a file of one type. `whole`: all its tensors together, before any fell back.

    `published`: the same of the file as it is published, `whole` itself where nothing fell back.
    `unmeasured`: why nothing was measured, and how it could be; then there is nothing else.
    """

    type: str
    kinds: tuple[KindLoss, ...] = ()
    whole: tuple[TextLoss, ...] = ()
    published: tuple[TextLoss, ...] = ()
    unmeasured: str | None = None

    @property
    def fallen(self) -> tuple[KindLoss, ...]:
        """The kinds that are rounded plainly in the published file: those that lost by calibration.

        Where none did alone and yet all together, it is each that lost at all.
        """
        fallen = [kind for kind in self.kinds if kind.falls_back]
        if not fallen and any(loss.is_loss for loss in self.whole):
            fallen = [kind for kind in self.kinds if any(loss.is_worse for loss in kind.losses)]
        return tuple(fallen)

    @property
    def tensors(self) -> tuple[str, ...]:
        """All tensors that were tried."""
        return tuple(name for kind in self.kinds for name in kind.tensors)

    def quality(self) -> dict[str, Any]:
        """Return what was measured for the file's own record, flat: of the first text."""
        if not self.published:
            return {}
        loss = self.published[0]
        figures: dict[str, Any] = {
            "held_out_text": loss.text,
            "held_out_kl_divergence": loss.calibrated,
            "held_out_kl_divergence_uncalibrated": loss.plain,
        }
        if self.fallen:
            figures["rounded_plainly"] = ", ".join(kind.kind for kind in self.fallen)
        return figures

    def document(self) -> dict[str, Any]:
        """Return the verdict for JSON: divergences in nats."""
        if self.unmeasured is not None:
            return {"type": self.type, "measured": False, "reason": self.unmeasured}
        fallen = self.fallen
        return {
            "type": self.type,
            "measured": True,
            "texts": [_of_text(loss, self.published[i]) for i, loss in enumerate(self.whole)],
            "kinds": [kind.document() | {"rounded_plainly": kind in fallen} for kind in self.kinds],
            "rounded_plainly": [name for kind in fallen for name in kind.tensors],
        }


def _of_text(whole: TextLoss, published: TextLoss) -> dict[str, Any]:
    return {
        "text": whole.text,
        "windows": whole.n_windows,
        "kl_divergence_plain": whole.plain,
        "kl_divergence_calibrated": whole.calibrated,
        "kl_divergence": published.calibrated,
    }


def compare(texts: Sequence[tuple[str, int]], plain: Doubles, calibrated: Doubles) -> tuple[TextLoss, ...]:
    """Return the losses on each text. `texts`: names, and how many windows each has.

    `plain`, `calibrated` [n_windows, n_scored]: KL divergences at the same places, text after text.
    """
    losses, start = [], 0
    for text, n_windows in texts:
        part = slice(start, start + n_windows)
        before, after = plain[part].mean(axis=1), calibrated[part].mean(axis=1)
        difference = after - before
        error = float(difference.std(ddof=1)) / math.sqrt(n_windows) if n_windows > 1 else math.inf
        losses.append(TextLoss(text, n_windows, float(before.mean()), float(after.mean()), error))
        start += n_windows
    return tuple(losses)
