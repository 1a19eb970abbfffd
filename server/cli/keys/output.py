"""The parts that the commands of `corral keys` share: the keys' file, and a secret printed once."""

from __future__ import annotations

import sys

from models.paths import Paths
from server.cli.console import print_json, say
from server.keys.key import Key
from server.keys.key_file import KeyFile
from server.keys.times import shown_time


def key_file() -> KeyFile:
    """Return the file of this machine's keys."""
    return KeyFile(Paths.from_environment().keys_file)


def print_secret(key: Key, secret: str, *, as_json: bool) -> None:
    """Print a key's secret on stdout, alone so that a script can take it."""
    if as_json:
        print_json({**key.description(), "key": secret})
        return
    until = "" if key.expires is None else f", good until {shown_time(key.expires)}"
    say(f"the key {key.name} ({', '.join(key.scopes)}{until}); it is shown this once:")
    sys.stdout.write(f"{secret}\n")
