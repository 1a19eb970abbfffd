"""Lock files: what a parser must refuse, and what the committed ones promise."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest

from scripts import environment, lockfile
from scripts.lock import LOCKS
from scripts.lockfile import LockError

ROOT = Path(__file__).resolve().parents[2]
LOCK_NAMES = sorted(path.name for path in ROOT.glob("requirements*.lock"))
DIGEST = "0" * 64


def test_parse_keeps_markers_and_hashes() -> None:
    text = f"# made by\nNumpy==2.4.6 ; python_version < '3.12' \\\n    --hash=sha256:{DIGEST} \\\n"
    text += f"    --hash=sha256:{'1' * 64}\n    # via x\nrich==15.0.0 \\\n    --hash=sha256:{DIGEST}\n"
    first, second = lockfile.parse(text)
    assert (first.name, first.version, first.digests) == ("numpy", "2.4.6", (DIGEST, "1" * 64))
    assert "python_version < '3.12'" in first.text
    assert second.text == f"rich==15.0.0 \\\n    --hash=sha256:{DIGEST}\n"
    assert lockfile.one([first, second], "rich") is second


@pytest.mark.parametrize(
    "text",
    [
        "rich==15.0.0\n",
        f"rich>=15 \\\n    --hash=sha256:{DIGEST}\n",
        "-e .\n",
        "    --hash=sha256:0\n",
    ],
)
def test_parse_refuses_what_is_not_pinned_with_a_hash(text: str) -> None:
    with pytest.raises(LockError):
        lockfile.parse(text)


def test_one_names_the_fix() -> None:
    with pytest.raises(LockError, match="make lock"):
        lockfile.one([], "rich")


@pytest.mark.parametrize("name", LOCK_NAMES)
def test_committed_locks_are_pinned_with_hashes(name: str) -> None:
    assert lockfile.read(ROOT / name)


def test_every_lock_is_made_by_make_lock_and_used_by_some_environment() -> None:
    assert [output for output, _, _ in LOCKS] == sorted(
        LOCK_NAMES, key=[output for output, _, _ in LOCKS].index
    )
    used = {lock for purpose in environment.PURPOSES.values() for lock in purpose.locks}
    assert used == set(LOCK_NAMES)


@pytest.mark.parametrize("purpose", sorted(environment.PURPOSES))
def test_locks_of_one_environment_agree(purpose: str) -> None:
    versions: dict[str, set[str]] = {}
    for lock in environment.PURPOSES[purpose].locks:
        for name in {one.name for one in lockfile.read(ROOT / lock)}:
            pins = {one.version for one in lockfile.read(ROOT / lock) if one.name == name}
            assert versions.setdefault(name, pins) == pins, f"{name} is {pins} in {lock}"


def test_bindings_are_pinned_exactly_and_equal_in_all_places() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    wanted = next(one for one in project["dependencies"] if one.startswith(environment.BINDINGS))
    assert re.fullmatch(r"llama-cpp-python==\d+\.\d+\.\d+", wanted)
    for name in ("requirements.lock", "requirements-dev.lock"):
        locked = lockfile.one(lockfile.read(ROOT / name), environment.BINDINGS)
        assert wanted == f"{locked.name}=={locked.version}"


def test_torch_is_the_same_in_all_places_and_never_needed_to_run() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    assert environment.TORCH in extras["oracle"]
    assert environment.TORCH in extras["train"]
    for name in LOCK_NAMES:
        assert "torch" not in {one.name for one in lockfile.read(ROOT / name)}
