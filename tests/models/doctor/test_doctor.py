from __future__ import annotations

from pathlib import Path

import pytest

from models.doctor import Check, Status, diagnose


@pytest.mark.model
def test_this_machine_is_well(tmp_path: Path) -> None:
    found = {check.name: check for check in diagnose({"CORRAL_HOME": str(tmp_path / "home")})}
    assert list(found) == [
        "Python",
        "CPU",
        "memory",
        "disk",
        "llama.cpp",
        "CPU features",
        "images",
        "AMX",
        "GPU",
        "self-test",
        "Hub",
    ]
    for name in ("Python", "CPU", "llama.cpp", "self-test"):
        assert found[name].status is Status.OK, found[name]
    assert all((check.fix is None) == (check.status is Status.OK) for check in found.values())


def test_a_check_is_a_value_for_programs() -> None:
    check = Check("disk", Status.WARNING, "1 GiB free", "free some")
    assert (check.status, str(check.status)) == ("warning", "warning")
