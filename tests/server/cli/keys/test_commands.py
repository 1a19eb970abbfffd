"""`corral keys` as processes, on a home of its own."""

from __future__ import annotations

import json
from pathlib import Path

from server.keys.key_file import KeyFile
from server.keys.key_ring import KeyRing
from tests.server.cli.conftest import Corral, document


def test_a_keys_life(corral: Corral, home: Path) -> None:
    empty = corral("keys", "list")
    assert (empty.returncode, empty.stdout) == (0, "")
    added = corral(
        "keys", "add", "bob", "--scope", "infer", "--scope", "metrics", "--model", "org/*", "--rpm", "5",
        "--tpm", "1000", "--streams", "2", "--expires", "30d",
    )  # fmt: skip
    assert added.returncode == 0, added.stderr
    secret = added.stdout.strip()
    assert "bob" in added.stderr
    assert secret not in added.stderr
    ring = KeyRing((), KeyFile(home / "keys.json"))
    caller = ring.caller_of([secret.encode()])
    assert caller is not None
    assert (caller.name, caller.scopes, caller.models) == ("bob", frozenset({"infer", "metrics"}), ("org/*",))
    assert (caller.limits.requests_per_minute, caller.limits.tokens_per_minute, caller.limits.streams) == (
        5,
        1000,
        2,
    )

    listed = corral("keys", "list")
    assert listed.stdout.splitlines()[0].split()[:2] == ["NAME", "SCOPES"]
    assert listed.stdout.splitlines()[1].split()[:6] == ["bob", "infer,metrics", "org/*", "5", "1,000", "2"]
    [row] = json.loads(corral("keys", "list", "--json").stdout)
    assert row["name"] == "bob"
    assert not row["expired"]
    assert "sha256" not in json.dumps(row)

    rotated = document(corral, "keys", "rotate", "bob", "--overlap", "1h")
    assert ring.caller_of([secret.encode()]) == ring.caller_of([rotated["key"].encode()]) == caller
    removed = corral("keys", "remove", "bob")
    assert removed.returncode == 0
    assert "delete" in removed.stderr
    assert ring.caller_of([rotated["key"].encode()]) is None


def test_wrong_usage(corral: Corral, home: Path) -> None:
    for wrong in (
        ["add", "b b"],
        ["add", "bob", "--scope", "all"],
        ["add", "bob", "--rpm", "0"],
        ["add", "bob", "--model", ""],
        ["add", "bob", "--expires", "2001-01-01"],
        ["rotate", "nobody"],
        ["remove", "nobody"],
        ["nothing"],
    ):
        done = corral("keys", *wrong)
        assert done.returncode == 2, wrong
        assert "Traceback" not in done.stderr
    assert not json.loads(corral("keys", "list", "--json").stdout)
    assert (home / "keys.json").exists() is False
