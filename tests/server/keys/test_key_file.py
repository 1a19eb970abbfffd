from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from models.errors import ConfigError
from server.keys.caller import ALL_MODELS, KeyLimits
from server.keys.key import DEFAULT_SCOPES, digest
from server.keys.key_file import KeyFile


@pytest.fixture
def file(tmp_path: Path) -> KeyFile:
    return KeyFile(tmp_path / "home" / "keys.json", lambda: 1000.0)


def add(file: KeyFile, name: str = "bob") -> str:
    return file.add(name, DEFAULT_SCOPES, ALL_MODELS, KeyLimits(streams=2))[1]


def test_no_file_no_keys(file: KeyFile) -> None:
    assert file.read() == []
    assert not file.path.exists()


def test_only_the_owner_may_read_it_and_no_secret_is_in_it(file: KeyFile) -> None:
    secret = add(file)
    assert file.path.stat().st_mode & 0o777 == 0o600
    text = file.path.read_text()
    assert secret not in text
    assert secret.removeprefix("sk-corral-") not in text
    assert digest(secret.encode()).hex() in text
    assert len(secret.removeprefix("sk-corral-")) == 43  # 256 bits


def test_two_secrets_are_never_alike(file: KeyFile) -> None:
    assert add(file) != add(file, "eve")
    first, second = file.read()
    assert first.id != second.id


@pytest.mark.parametrize("name", ["", " bob", "b b", "-bob", "b\n", "x" * 65, "ä"])
def test_a_name_that_no_key_can_have(file: KeyFile, name: str) -> None:
    with pytest.raises(ConfigError, match="no name for a key"):
        add(file, name)
    assert not file.path.exists()


def test_a_name_is_taken_once(file: KeyFile) -> None:
    add(file)
    before = file.path.read_bytes()
    with pytest.raises(ConfigError, match="rotate bob"):
        add(file)
    assert file.path.read_bytes() == before


def test_a_key_that_has_expired_is_rotated_with_a_new_end_alone(file: KeyFile) -> None:
    file.add("bob", DEFAULT_SCOPES, ALL_MODELS, KeyLimits(), 1000)
    before = file.path.read_bytes()
    with pytest.raises(ConfigError, match="bob has expired and keeps its end"):
        file.rotate("bob")
    assert file.path.read_bytes() == before
    key, secret = file.rotate("bob", 0, 5000)
    assert (key.expires, key.has_expired(1000.0)) == (5000, False)
    assert [each.sha256 for each in key.secrets] == [digest(secret.encode()).hex()]


def test_a_rotated_key_keeps_all_but_its_secret(file: KeyFile) -> None:
    old = add(file)
    [before] = file.read()
    key, secret = file.rotate("bob")
    assert secret != old
    assert [each.sha256 for each in key.secrets] == [digest(secret.encode()).hex()]
    assert (key.id, key.limits, key.scopes, key.created) == (
        before.id,
        before.limits,
        before.scopes,
        before.created,
    )
    assert file.read() == [key]


def test_an_overlap_ends_and_a_second_rotation_lengthens_none(file: KeyFile) -> None:
    add(file)
    file.rotate("bob", 600)
    key, _ = file.rotate("bob", 3600)
    assert [each.expires for each in key.secrets] == [None, 4600, 1600]
    key, _ = file.rotate("bob")
    assert len(key.secrets) == 1


def test_removed(file: KeyFile) -> None:
    add(file)
    add(file, "eve")
    assert file.remove("bob").name == "bob"
    assert [key.name for key in file.read()] == ["eve"]
    for change in (file.remove, file.rotate):
        with pytest.raises(ConfigError, match="there are: eve"):
            change("bob")


def test_changes_at_the_same_time_lose_none(file: KeyFile) -> None:
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda at: add(KeyFile(file.path), f"key-{at}"), range(24)))
    assert {key.name for key in file.read()} == {f"key-{at}" for at in range(24)}


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"[]",
        b"\xff",
        b'{"version": 1}',
        b'{"version": 2, "keys": []}',
        b'{"version": 1, "keys": [{}]}',
        b'{"version": 1, "keys": [], "more": 1}',
    ],
)
def test_a_file_that_cannot_be_read_says_so_and_stays(file: KeyFile, content: bytes) -> None:
    file.path.parent.mkdir()
    file.path.write_bytes(content)
    with pytest.raises(ConfigError, match=r"keys\.json"):
        file.read()
    with pytest.raises(ConfigError, match=r"keys\.json"):
        add(file)
    assert file.path.read_bytes() == content


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("scopes", ["everything"]),
        ("limits", {"streams": 0}),
        ("secrets", [{"sha256": "xyz", "created": 1}]),
        ("expires", "soon"),
        ("rights", 1),
    ],
)
def test_a_hand_that_errs_is_told(file: KeyFile, field: str, value: object) -> None:
    add(file)
    document = json.loads(file.path.read_bytes())
    document["keys"][0][field] = value
    file.path.write_text(json.dumps(document))
    with pytest.raises(ConfigError, match="keys"):
        file.read()
