"""ggml's blocks taken apart into the numbers that a rounding chooses, and put together again.

    value = step · level − low        step = d · scale,  low = dmin · minimum

`d` and `dmin` are a block's, F16; `scale` and `minimum`, whole numbers of few bits, a group's; `level` each
column's own.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from models.llamacpp.quantization.ggml_types import GGML_TYPES

F32: Final = np.float32
Floats = npt.NDArray[np.float32]
Bytes = npt.NDArray[np.uint8]
Range = tuple[int, int]

TWO: Final = np.uint8(2)
FOUR: Final = np.uint8(4)
SIX: Final = np.uint8(6)
"""Numbers of bits, by which bytes are shifted and stay bytes."""

CODEBOOK: Final = np.array([-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113], F32)
"""The levels of IQ4_NL and IQ4_XS."""


@dataclass(frozen=True)
class Form:
    """A type's blocks. Ranges are of whole numbers, both ends included.

    `scale`, `minimum`: None where a group is a block and has none of its own. `book`: the levels, where they
    aren't all whole numbers of a range.
    """

    name: str
    block: int
    """The columns of a block."""
    group: int
    """The columns of a group."""
    n_bytes: int
    """The bytes of a block."""
    level: Range
    scale: Range | None = None
    minimum: Range | None = None
    has_dmin: bool = False
    book: Floats | None = None

    @property
    def n_groups(self) -> int:
        """The groups of a block."""
        return self.block // self.group


@dataclass
class Blocks:
    """Blocks of one form, n of them: `d`, `dmin` [n], exact as F16; `scale`, `minimum` [n, groups]; `level`
    [n, block].

    All are f32. `dmin` is 0 where the form has none; a form without scales has ones.
    """

    form: Form
    d: Floats
    dmin: Floats
    scale: Floats
    minimum: Floats
    level: Floats

    @property
    def step(self) -> Floats:
        """The distance of two levels, [n, groups]."""
        return self.d[:, None] * self.scale

    @property
    def low(self) -> Floats:
        """The value of level 0, with its sign turned, [n, groups]."""
        return self.dmin[:, None] * self.minimum

    def values(self) -> Floats:
        """Return the numbers [n, block] that the blocks stand for."""
        level = self.level.reshape(len(self.d), self.form.n_groups, self.form.group)
        return (self.step[:, :, None] * level - self.low[:, :, None]).reshape(len(self.d), self.form.block)


@dataclass(frozen=True)
class _Codec:
    form: Form
    unpack: Callable[[Bytes, Blocks], None]
    pack: Callable[[Blocks, Bytes], None]


def form_of(ggml_type: int) -> Form | None:
    """Return the form of a type's blocks; None for a type that isn't taken apart here."""
    codec = _CODECS.get(ggml_type)
    return None if codec is None else codec.form


def unpack(ggml_type: int, raw: Bytes) -> Blocks:
    """Return the blocks in `raw`, whole ones of a type that `form_of` knows."""
    codec = _CODECS[ggml_type]
    form = codec.form
    raw = raw.reshape(-1, form.n_bytes)
    n = len(raw)
    whole = (n, form.n_groups)
    zeros, ones, levels = np.zeros(n, F32), np.ones(whole, F32), np.empty((n, form.block), F32)
    blocks = Blocks(form, zeros, zeros.copy(), ones, ones.copy(), levels)
    codec.unpack(raw, blocks)
    return blocks


def pack(ggml_type: int, blocks: Blocks) -> Bytes:
    """Return the blocks' bytes [n, n_bytes]."""
    out = np.zeros((len(blocks.d), blocks.form.n_bytes), np.uint8)
    _CODECS[ggml_type].pack(blocks, out)
    return out


# --- parts of blocks ---


def _half(raw: Bytes) -> Floats:
    return np.ascontiguousarray(raw).view(np.float16).astype(F32)[:, 0]


def _put_half(values: Floats, out: Bytes) -> None:
    out[:] = np.ascontiguousarray(values.astype(np.float16)[:, None]).view(np.uint8)


def _fields(raw: Bytes, bits: int, n_planes: int, width: int) -> Bytes:
    """Return fields [n, planes · width] of `bits` bits each: of every `width` bytes the lowest ones first,
    then those above them, `n_planes` times.
    """
    shifts = (bits * np.arange(n_planes, dtype=np.uint8))[None, None, :, None]
    planes = (raw.reshape(len(raw), -1, 1, width) >> shifts) & np.uint8((1 << bits) - 1)
    return planes.reshape(len(raw), -1)


def _put_fields(fields: Bytes, bits: int, n_planes: int, width: int, out: Bytes) -> None:
    """Write what `_fields` returns."""
    shifts = (bits * np.arange(n_planes, dtype=np.uint8))[None, None, :, None]
    planes = (fields & np.uint8((1 << bits) - 1)).reshape(len(fields), -1, n_planes, width) << shifts
    out[:] = np.bitwise_or.reduce(planes, axis=2).reshape(len(fields), -1)


def _unpack_six_bits(raw: Bytes) -> tuple[Bytes, Bytes]:
    """Return eight scales and eight minima [n, 8] of 12 bytes."""
    first, second, third = raw[:, :4], raw[:, 4:8], raw[:, 8:]
    scale = np.concatenate([first & 63, (third & 15) | ((first >> SIX) << FOUR)], axis=1)
    minimum = np.concatenate([second & 63, (third >> FOUR) | ((second >> SIX) << FOUR)], axis=1)
    return scale, minimum


def _put_six_bits(scale: Bytes, minimum: Bytes, out: Bytes) -> None:
    out[:, :4] = scale[:, :4] | ((scale[:, 4:] >> FOUR) << SIX)
    out[:, 4:8] = minimum[:, :4] | ((minimum[:, 4:] >> FOUR) << SIX)
    out[:, 8:] = (scale[:, 4:] & 15) | ((minimum[:, 4:] & 15) << FOUR)


def _whole(values: Floats) -> Bytes:
    return values.astype(np.uint8)


# --- types ---


def _unpack_q2(raw: Bytes, blocks: Blocks) -> None:
    blocks.scale[:], blocks.minimum[:] = raw[:, :16] & 15, raw[:, :16] >> FOUR
    blocks.level[:] = _fields(raw[:, 16:80], 2, 4, 32)
    blocks.d[:], blocks.dmin[:] = _half(raw[:, 80:82]), _half(raw[:, 82:84])


def _pack_q2(blocks: Blocks, out: Bytes) -> None:
    out[:, :16] = _whole(blocks.scale) | (_whole(blocks.minimum) << FOUR)
    _put_fields(_whole(blocks.level), 2, 4, 32, out[:, 16:80])
    _put_half(blocks.d, out[:, 80:82])
    _put_half(blocks.dmin, out[:, 82:84])


def _unpack_q3(raw: Bytes, blocks: Blocks) -> None:
    high = _fields(raw[:, :32], 1, 8, 32)
    blocks.level[:] = (_fields(raw[:, 32:96], 2, 4, 32) | (high << TWO)).astype(F32) - F32(4)
    low_4 = _fields(raw[:, 96:104], 4, 2, 8)
    high_2 = _fields(raw[:, 104:108], 2, 4, 4)
    blocks.scale[:] = (low_4 | (high_2 << FOUR)).astype(F32) - F32(32)
    blocks.d[:] = _half(raw[:, 108:])


def _pack_q3(blocks: Blocks, out: Bytes) -> None:
    level, scale = _whole(blocks.level + F32(4)), _whole(blocks.scale + F32(32))
    _put_fields(level >> TWO, 1, 8, 32, out[:, :32])
    _put_fields(level, 2, 4, 32, out[:, 32:96])
    _put_fields(scale, 4, 2, 8, out[:, 96:104])
    _put_fields(scale >> FOUR, 2, 4, 4, out[:, 104:108])
    _put_half(blocks.d, out[:, 108:])


def _unpack_q4(raw: Bytes, blocks: Blocks) -> None:
    blocks.d[:], blocks.dmin[:] = _half(raw[:, :2]), _half(raw[:, 2:4])
    blocks.scale[:], blocks.minimum[:] = _unpack_six_bits(raw[:, 4:16])
    blocks.level[:] = _fields(raw[:, -128:], 4, 2, 32)


def _pack_q4(blocks: Blocks, out: Bytes) -> None:
    _put_half(blocks.d, out[:, :2])
    _put_half(blocks.dmin, out[:, 2:4])
    _put_six_bits(_whole(blocks.scale), _whole(blocks.minimum), out[:, 4:16])
    _put_fields(_whole(blocks.level), 4, 2, 32, out[:, -128:])


def _unpack_q5(raw: Bytes, blocks: Blocks) -> None:
    _unpack_q4(raw, blocks)
    blocks.level += (_fields(raw[:, 16:48], 1, 8, 32) << FOUR).astype(F32)


def _pack_q5(blocks: Blocks, out: Bytes) -> None:
    _pack_q4(blocks, out)
    _put_fields(_whole(blocks.level) >> FOUR, 1, 8, 32, out[:, 16:48])


def _unpack_q6(raw: Bytes, blocks: Blocks) -> None:
    low_4 = _fields(raw[:, :128], 4, 2, 64)
    high_2 = _fields(raw[:, 128:192], 2, 4, 32)
    blocks.level[:] = (low_4 | (high_2 << FOUR)).astype(F32) - F32(32)
    blocks.scale[:] = raw[:, 192:208].view(np.int8)
    blocks.d[:] = _half(raw[:, 208:])


def _pack_q6(blocks: Blocks, out: Bytes) -> None:
    level = _whole(blocks.level + F32(32))
    _put_fields(level, 4, 2, 64, out[:, :128])
    _put_fields(level >> FOUR, 2, 4, 32, out[:, 128:192])
    out[:, 192:208] = blocks.scale.astype(np.int8).view(np.uint8)
    _put_half(blocks.d, out[:, 208:])


def _unpack_q8(raw: Bytes, blocks: Blocks) -> None:
    blocks.d[:] = _half(raw[:, :2])
    blocks.level[:] = raw[:, 2:].view(np.int8)


def _pack_q8(blocks: Blocks, out: Bytes) -> None:
    _put_half(blocks.d, out[:, :2])
    out[:, 2:] = blocks.level.astype(np.int8).view(np.uint8)


def _unpack_iq4_nl(raw: Bytes, blocks: Blocks) -> None:
    blocks.d[:] = _half(raw[:, :2])
    blocks.level[:] = CODEBOOK[_fields(raw[:, 2:], 4, 2, 16)]


def _pack_iq4_nl(blocks: Blocks, out: Bytes) -> None:
    _put_half(blocks.d, out[:, :2])
    _put_fields(_places(blocks.level), 4, 2, 16, out[:, 2:])


def _unpack_iq4_xs(raw: Bytes, blocks: Blocks) -> None:
    blocks.d[:] = _half(raw[:, :2])
    high_2 = _fields(raw[:, 2:4], 2, 4, 1)
    low_4 = _fields(raw[:, 4:8], 4, 2, 1)
    blocks.scale[:] = (low_4 | (high_2 << FOUR)).astype(F32) - F32(32)
    blocks.level[:] = CODEBOOK[_fields(raw[:, 8:], 4, 2, 16)]


def _pack_iq4_xs(blocks: Blocks, out: Bytes) -> None:
    _put_half(blocks.d, out[:, :2])
    scale = _whole(blocks.scale + F32(32))
    _put_fields(scale >> FOUR, 2, 4, 1, out[:, 2:4])
    _put_fields(scale, 4, 2, 1, out[:, 4:8])
    _put_fields(_places(blocks.level), 4, 2, 16, out[:, 8:])


def _places(level: Floats) -> Bytes:
    return np.searchsorted(CODEBOOK, level).astype(np.uint8)


def _small(
    n_bits: int, *, has_dmin: bool
) -> tuple[Callable[[Bytes, Blocks], None], Callable[[Blocks, Bytes], None]]:
    """Return what unpacks and packs Q4_0, Q4_1, Q5_0 or Q5_1."""
    first = 4 if has_dmin else 2
    low = 16 + first if n_bits == 4 else 20 + first  # the levels' lower bits are the last 16 bytes
    middle = F32(0 if has_dmin else 1 << (n_bits - 1))

    def unpack_small(raw: Bytes, blocks: Blocks) -> None:
        blocks.d[:] = _half(raw[:, :2])
        if has_dmin:
            blocks.dmin[:] = -_half(raw[:, 2:4])
        level = _fields(raw[:, low - 16 :], 4, 2, 16)
        if n_bits == 5:
            level = level | (np.unpackbits(raw[:, first : first + 4], axis=1, bitorder="little") << FOUR)
        blocks.level[:] = level.astype(F32) - middle

    def pack_small(blocks: Blocks, out: Bytes) -> None:
        _put_half(blocks.d, out[:, :2])
        if has_dmin:
            _put_half(-blocks.dmin, out[:, 2:4])
        level = _whole(blocks.level + middle)
        _put_fields(level, 4, 2, 16, out[:, low - 16 :])
        if n_bits == 5:
            out[:, first : first + 4] = np.packbits(level >> FOUR, axis=1, bitorder="little")

    return unpack_small, pack_small


_SIX: Final = (0, 63)
_BOOK: Final = (-127, 113)

_CODECS: Final[dict[int, _Codec]] = {
    GGML_TYPES[codec.form.name]: codec
    for codec in (
        _Codec(Form("Q2_K", 256, 16, 84, (0, 3), (0, 15), (0, 15), has_dmin=True), _unpack_q2, _pack_q2),
        _Codec(Form("Q3_K", 256, 16, 110, (-4, 3), (-32, 31)), _unpack_q3, _pack_q3),
        _Codec(Form("Q4_K", 256, 32, 144, (0, 15), _SIX, _SIX, has_dmin=True), _unpack_q4, _pack_q4),
        _Codec(Form("Q5_K", 256, 32, 176, (0, 31), _SIX, _SIX, has_dmin=True), _unpack_q5, _pack_q5),
        _Codec(Form("Q6_K", 256, 16, 210, (-32, 31), (-128, 127)), _unpack_q6, _pack_q6),
        _Codec(Form("Q8_0", 32, 32, 34, (-127, 127)), _unpack_q8, _pack_q8),
        _Codec(Form("Q4_0", 32, 32, 18, (-8, 7)), *_small(4, has_dmin=False)),
        _Codec(Form("Q5_0", 32, 32, 22, (-16, 15)), *_small(5, has_dmin=False)),
        _Codec(Form("Q4_1", 32, 32, 20, (0, 15), has_dmin=True), *_small(4, has_dmin=True)),
        _Codec(Form("Q5_1", 32, 32, 24, (0, 31), has_dmin=True), *_small(5, has_dmin=True)),
        _Codec(Form("IQ4_NL", 32, 32, 18, _BOOK, book=CODEBOOK), _unpack_iq4_nl, _pack_iq4_nl),
        _Codec(Form("IQ4_XS", 256, 32, 136, _BOOK, (-32, 31), book=CODEBOOK), _unpack_iq4_xs, _pack_iq4_xs),
    )
}
