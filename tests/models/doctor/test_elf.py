from __future__ import annotations

from pathlib import Path

from models.doctor.elf import read_build


def test_a_library_that_is_no_elf_of_x86(tmp_path: Path) -> None:
    for name, data in (("empty", b""), ("short", b"\x7fELF"), ("mach-o", b"\xcf\xfa\xed\xfe" * 64)):
        path = tmp_path / name
        path.write_bytes(data)
        assert read_build(path) is None
    broken = tmp_path / "broken"
    broken.write_bytes(b"\x7fELF\x02\x01\x01" + b"\0" * 9 + b"\x03\x00\x3e\x00" + b"\xff" * 44)
    assert read_build(broken) is None
