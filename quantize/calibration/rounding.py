"""The rounding of rows into ggml's blocks by the second moments of their input, not column by column.

The blocks' scales are found by ggml's own search, on the columns as the errors before them have left them;
levels are chosen so that each column makes up for those errors. Sweeps of coordinate descent follow. Rows
don't touch each other, and pieces have one shape: a row's bytes depend on nothing but its piece and factor.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Literal

import numpy as np
import numpy.typing as npt

from models.llamacpp.quantization.dequantizer import dequantize_rows
from models.llamacpp.quantization.ggml_types import row_size
from quantize.calibration.factor import Factor
from quantize.calibration.forms import form_of, pack, unpack
from quantize.calibration.lanes import Lanes, turn
from quantize.calibration.refit import refit
from quantize.kernels.feedback import Feedback

F32: Final = np.float32
Floats = npt.NDArray[np.float32]
Bytes = npt.NDArray[np.uint8]
QuantizeRows = Callable[[int, Floats, Bytes, Floats | None], int]
Search = Literal["variance", "flat", "pivot"]

PANEL: Final = 256
"""So many columns are rounded between two products over all columns before them."""
PIECE_ROWS: Final = 128
"""So many rows are rounded together; a piece that has fewer is filled up with zeros."""

_MOST_TIMES: Final = F32(4)
"""No column makes up for more than what lies within so many times its row's largest number."""


@dataclass(frozen=True)
class Effort:
    """The amount of trying. `searches`: the columns' weights with which scales are searched; each row keeps
    the best. `sweeps`: of coordinate descent.
    """

    searches: tuple[Search, ...] = ("variance", "flat", "pivot")
    sweeps: int = 2


NORMAL_EFFORT: Final = Effort()


@dataclass(frozen=True, eq=False)
class Rounder:
    """Rounds rows, by ggml's encoder or one equal to it and compiled kernels. Thread-safe."""

    quantize_rows: QuantizeRows
    feedback: Feedback
    effort: Effort

    def round_rows(self, ggml_type: int, rows: Floats, factor: Factor, out: Bytes) -> None:
        """Encode `rows` [n_rows, n] f32 into `out`, in pieces of PIECE_ROWS from the first on.

        No row's weighted error is larger than that of ggml's encoding by the same importance, nor a piece's
        on the rows that the factor has held out.
        """
        n_bytes = row_size(ggml_type, rows.shape[1])
        for start in range(0, len(rows), PIECE_ROWS):
            piece = rows[start : start + PIECE_ROWS]
            n_rows = len(piece)
            if n_rows < PIECE_ROWS:
                piece = np.pad(piece, ((0, PIECE_ROWS - n_rows), (0, 0)))
            done = _Piece(self, ggml_type, piece, factor).encode()[:n_rows]
            out[start * n_bytes : (start + n_rows) * n_bytes] = done.reshape(-1)


class _Piece:
    """Some rows, in lanes, and the state of their rounding."""

    def __init__(self, rounder: Rounder, ggml_type: int, rows: Floats, factor: Factor) -> None:
        form = form_of(ggml_type)
        assert form is not None, f"type {ggml_type} isn't taken apart"
        self._rounder, self._ggml_type, self._form = rounder, ggml_type, form
        self._rows, self._lanes, self._factor = np.ascontiguousarray(rows), turn(rows), factor
        n = rows.shape[1]
        self._panels = [slice(start, min(start + PANEL, n)) for start in range(0, n, PANEL)]
        self._ends = np.array(form.level, F32)
        self._book = np.empty(0, F32) if form.book is None else form.book

    def encode(self) -> Bytes:
        """Return the rows' bytes [n_rows, bytes of a row]."""
        chosen, errors = self._compensate()
        for _ in range(self._rounder.effort.sweeps):
            for lanes, panel in zip(chosen, self._panels, strict=True):
                self._sweep(lanes, errors, panel)
        packed = [pack(self._ggml_type, lanes.blocks()).reshape(len(self._rows), -1) for lanes in chosen]
        made = np.concatenate(packed, axis=1)
        plain, plain_errors = self._plain()
        worse = ~(self._loss(errors) <= self._loss(plain_errors))
        if self._loses_held_out(errors, plain_errors):
            worse[:] = True
        made[worse] = plain[worse]
        return made

    def _plain(self) -> tuple[Bytes, Floats]:
        """Return ggml's encoding of the rows, and its errors in lanes."""
        n_rows, n = self._rows.shape
        out = np.empty(n_rows * row_size(self._ggml_type, n), np.uint8)
        self._rounder.quantize_rows(self._ggml_type, self._rows, out, self._factor.importance)
        return out.reshape(n_rows, -1), turn(self._rows - dequantize_rows(self._ggml_type, out, n))

    def _loss(self, errors: Floats) -> npt.NDArray[np.float64]:
        """Return each row's weighted error: of errors e, the squares of Uᵀ · e."""
        upper, loss = self._factor.upper, np.zeros(len(self._rows))
        for panel in self._panels:
            product = upper[: panel.stop, panel].T @ errors[: panel.stop]
            loss += np.square(product, dtype=np.float64).sum(axis=0)
        return loss

    def _loses_held_out(self, errors: Floats, plain_errors: Floats) -> bool:
        """Return whether the rows together lose more than ggml's on inputs that weren't calibrated with."""
        held_out = self._factor.held_out
        if not len(held_out):
            return False
        lost, plain = (
            float(np.square(held_out @ some, dtype=np.float64).sum()) for some in (errors, plain_errors)
        )
        return lost > plain

    # --- compensation ---

    def _compensate(self) -> tuple[list[Lanes], Floats]:
        """Return the panels' blocks, and the errors (original less value) [n, n_rows]."""
        upper, rows = self._factor.upper, self._lanes
        pivots = np.diagonal(upper)[:, None]
        limit = _MOST_TIMES * np.abs(rows).max(axis=0)
        errors = np.empty_like(rows)
        chosen = []
        for panel in self._panels:
            target = rows[panel]
            if panel.start:
                owed = (upper[: panel.start, panel].T @ errors[: panel.start]) / pivots[panel]
                target = np.clip(target + np.nan_to_num(owed), -limit, limit)
            lanes, errors[panel] = self._best(panel, target)
            chosen.append(lanes)
        return chosen, errors

    def _best(self, panel: slice, target: Floats) -> tuple[Lanes, Floats]:
        """Return the blocks of a panel by the best search for each row, and the errors."""
        first, *others = self._rounder.effort.searches
        as_rows = turn(target)
        best = self._searched(panel, as_rows, first)
        best_errors, best_loss = self._feed(panel, target, best)
        for search in others:
            lanes = self._searched(panel, as_rows, search)
            errors, loss = self._feed(panel, target, lanes)
            better = loss < best_loss
            best.replace(lanes, better)
            np.copyto(best_errors, errors, where=better)
            np.copyto(best_loss, loss, where=better)
        return best, best_errors

    def _searched(self, panel: slice, target: Floats, search: Search) -> Lanes:
        """Return the blocks as ggml encodes the `target` [n_rows, columns]."""
        factor = self._factor
        if search == "variance":
            weights = np.diagonal(factor.moments)[panel]
        elif search == "pivot":
            weights = np.square(np.diagonal(factor.upper)[panel])
        else:
            weights = np.ones(target.shape[1], F32)
        out = np.empty(len(target) * row_size(self._ggml_type, target.shape[1]), np.uint8)
        self._rounder.quantize_rows(self._ggml_type, target, out, np.ascontiguousarray(weights, F32))
        return Lanes.of(unpack(self._ggml_type, out), len(target))

    def _feed(self, panel: slice, target: Floats, lanes: Lanes) -> tuple[Floats, Floats]:
        """Choose the blocks' levels; return errors [columns, n_rows] and losses [n_rows]."""
        error, loss = np.empty_like(target), np.empty(target.shape[1], F32)
        self._rounder.feedback.feed(
            self._lanes[panel],
            target,
            np.ascontiguousarray(self._factor.upper[panel, panel]),
            lanes.step,
            lanes.low,
            self._form.group,
            self._ends,
            self._book,
            lanes.level,
            error,
            loss,
        )
        return error, loss

    # --- descent ---

    def _sweep(self, lanes: Lanes, errors: Floats, panel: slice) -> None:
        """Improve one panel while all others are held; `errors` follow."""
        moments = self._factor.moments
        slope = -(moments[panel] @ errors)
        part = np.ascontiguousarray(moments[panel, panel])
        self._descend(lanes, slope, part)
        refit(lanes, slope, part, self._rounder.feedback)
        self._descend(lanes, slope, part)
        errors[panel] = self._lanes[panel] - lanes.values()

    def _descend(self, lanes: Lanes, slope: Floats, part: Floats) -> None:
        """Choose better levels for the blocks; `slope` follows."""
        self._rounder.feedback.descend(
            lanes.level,
            lanes.values(),
            slope,
            part,
            lanes.step,
            lanes.low,
            self._form.group,
            self._ends,
            self._book,
        )
