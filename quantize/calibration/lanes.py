"""The blocks of a panel in lanes, one for each row: a step is done for all rows at once."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from quantize.calibration.forms import Blocks, Form

Floats = npt.NDArray[np.float32]


@dataclass
class Lanes:
    """The blocks of some columns. `d`, `dmin` [blocks, rows]; `scale`, `minimum` [groups, rows]; `level`
    [columns, rows]. All f32 in C order.
    """

    form: Form
    d: Floats
    dmin: Floats
    scale: Floats
    minimum: Floats
    level: Floats

    @classmethod
    def of(cls, blocks: Blocks, n_rows: int) -> Lanes:
        """Return the lanes of whole rows' blocks, row after row."""
        parts = (blocks.d, blocks.dmin, blocks.scale, blocks.minimum, blocks.level)
        return cls(blocks.form, *(turn(part.reshape(n_rows, -1)) for part in parts))

    def blocks(self) -> Blocks:
        """Return the blocks, row after row."""
        form = self.form
        d, dmin = turn(self.d).reshape(-1), turn(self.dmin).reshape(-1)
        scale, minimum = (turn(part).reshape(-1, form.n_groups) for part in (self.scale, self.minimum))
        return Blocks(form, d, dmin, scale, minimum, turn(self.level).reshape(-1, form.block))

    @property
    def step(self) -> Floats:
        """The distance of two levels, [groups, rows]."""
        return np.repeat(self.d, self.form.n_groups, axis=0) * self.scale

    @property
    def low(self) -> Floats:
        """The value of level 0, with its sign turned, [groups, rows]."""
        return np.repeat(self.dmin, self.form.n_groups, axis=0) * self.minimum

    def values(self) -> Floats:
        """Return the numbers [columns, rows] that the blocks stand for."""
        groups = (len(self.scale), self.form.group, -1)
        made = self.step[:, None, :] * self.level.reshape(groups) - self.low[:, None, :]
        return made.reshape(self.level.shape)

    def replace(self, other: Lanes, rows: npt.NDArray[np.bool_]) -> None:
        """Take the blocks of those rows from the other that `rows` [rows] has True for."""
        for name in ("d", "dmin", "scale", "minimum", "level"):
            np.copyto(getattr(self, name), getattr(other, name), where=rows)


def turn(values: Floats) -> Floats:
    """Return the transpose, in C order."""
    return np.ascontiguousarray(values.T)
