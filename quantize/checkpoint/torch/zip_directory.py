"""The directory of an uncompressed zip file: the place of each member's bytes.

torch saves its files so: https://pkware.cachefly.net/webdocs/casestudies/APPNOTE.TXT, stored members only,
ZIP64 where sizes call for it. The directory comes from a stranger: its size is bounded, members must lie in
the file and may not overlap, and nothing is ever decompressed.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Final, NoReturn

from models.errors import CheckpointError
from quantize.checkpoint.file_bytes import ByteSource

MAX_MEMBERS: Final = 200_000
"""A directory may have at most this many members."""

MAX_DIRECTORY_BYTES: Final = 64 * 2**20
"""A directory may have at most this many bytes."""

_MAX_COMMENT: Final = 2**16 - 1
_U32: Final = 2**32 - 1

_END: Final = struct.Struct("<4s4H2LH")
_LOCATOR_64: Final = struct.Struct("<4sLQL")
_END_64: Final = struct.Struct("<4sQ2H2L4Q")
_CENTRAL: Final = struct.Struct("<4s6H3L5H2L")
_LOCAL: Final = struct.Struct("<4s5H3L2H")


@dataclass(frozen=True)
class Member:
    """A member, whose data are bytes [offset, offset + size) of the file."""

    name: str
    offset: int
    size: int


def is_zip(file: ByteSource) -> bool:
    return file.read(0, 4) == b"PK\x03\x04"


def read_zip_directory(file: ByteSource) -> dict[str, Member]:
    """Return the members by name.

    Raises CheckpointError: damaged, compressed or encrypted members, too many, overlapping.
    """
    start, size, count = _find_directory(file)
    if count > MAX_MEMBERS or size > MAX_DIRECTORY_BYTES:
        _refuse(file, f"its directory has {count:,} members in {size:,} bytes (at most {MAX_MEMBERS:,})")
    if start + size > file.size or count * _CENTRAL.size > size:
        _refuse(file, "its directory doesn't fit the file")
    raw = file.read(start, size)
    members: dict[str, Member] = {}
    at = 0
    for _ in range(count):
        name, header_offset, member_size, at = _central_entry(file, raw, at)
        if name in members:
            _refuse(file, f"it has {name!r} twice")
        members[name] = _locate(file, name, header_offset, member_size, limit=start)
    _check_overlaps(file, members)
    return members


def _find_directory(file: ByteSource) -> tuple[int, int, int]:
    """Return the directory's offset and size in bytes, and its number of members."""
    tail_start = max(0, file.size - _END.size - _MAX_COMMENT)
    tail = file.read(tail_start, file.size - tail_start)
    at = tail.rfind(b"PK\x05\x06")
    if at < 0 or at + _END.size > len(tail):
        _refuse(file, "it has no directory at its end: cut short")
    _, disk, first_disk, here, count, size, start, _ = _END.unpack_from(tail, at)
    locator = file.read(max(0, tail_start + at - _LOCATOR_64.size), _LOCATOR_64.size)
    if locator[:4] == b"PK\x06\x07":
        _, _, end_64, _ = _LOCATOR_64.unpack(locator)
        if end_64 + _END_64.size > file.size:
            _refuse(file, "its directory doesn't fit the file")
        fields = _END_64.unpack(file.read(end_64, _END_64.size))
        if fields[0] != b"PK\x06\x06":
            _refuse(file, "its ZIP64 directory isn't where it says")
        disk, first_disk, here, count, size, start = fields[4:]
    if disk or first_disk or here != count:
        _refuse(file, "it is one of several volumes")
    return start, size, count


def _central_entry(file: ByteSource, raw: bytes, at: int) -> tuple[str, int, int, int]:
    """Return a member's name, its local header's offset, its size, and the place of the next entry."""
    if at + _CENTRAL.size > len(raw):
        _refuse(file, "its directory ends in the middle of an entry")
    (magic, _, _, flags, method, _, _, _, packed, size, n_name, n_extra, n_comment, *_, offset) = (
        _CENTRAL.unpack_from(raw, at)
    )
    name_start = at + _CENTRAL.size
    end = name_start + n_name + n_extra + n_comment
    if magic != b"PK\x01\x02" or end > len(raw):
        _refuse(file, "its directory is damaged")
    try:
        name = raw[name_start : name_start + n_name].decode()
    except UnicodeDecodeError:
        _refuse(file, "it has a member whose name isn't UTF-8")
    extra = raw[name_start + n_name : name_start + n_name + n_extra]
    size, packed, offset = _widen(file, extra, [size, packed, offset])
    if method != 0 or packed != size:
        _refuse(file, f"its member {name[:80]!r} is compressed, and torch stores weights as they are")
    if flags & 1:
        _refuse(file, f"its member {name[:80]!r} is encrypted")
    return name, offset, size, end


def _widen(file: ByteSource, extra: bytes, values: list[int]) -> list[int]:
    """Return size, packed size and offset, those that are all ones replaced from the ZIP64 extra field."""
    at = 0
    while at + 4 <= len(extra):
        kind, length = struct.unpack_from("<HH", extra, at)
        field = extra[at + 4 : at + 4 + length]
        if kind == 1:
            for i, value in enumerate(values):
                if value == _U32:
                    if len(field) < 8:
                        _refuse(file, "a ZIP64 field of its directory is cut short")
                    (values[i],), field = struct.unpack_from("<Q", field), field[8:]
            break
        at += 4 + length
    return values


def _locate(file: ByteSource, name: str, header_offset: int, size: int, limit: int) -> Member:
    raw = file.read(header_offset, _LOCAL.size) if header_offset < limit else b""
    if len(raw) < _LOCAL.size or raw[:4] != b"PK\x03\x04":
        _refuse(file, f"its member {name[:80]!r} isn't where the directory says")
    n_name, n_extra = _LOCAL.unpack(raw)[-2:]
    offset = header_offset + _LOCAL.size + n_name + n_extra
    if offset + size > limit:
        _refuse(file, f"its member {name[:80]!r} of {size:,} bytes doesn't fit the file")
    return Member(name, offset, size)


def _check_overlaps(file: ByteSource, members: dict[str, Member]) -> None:
    last_end = 0
    for member in sorted(members.values(), key=lambda member: (member.offset, member.size)):
        if member.offset < last_end:
            _refuse(file, f"its member {member.name[:80]!r} overlaps another")
        last_end = member.offset + member.size


def _refuse(file: ByteSource, reason: str) -> NoReturn:
    raise CheckpointError(f"{file.name} is no torch file that can be read: {reason}; download it again")
